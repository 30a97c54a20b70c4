/* What lies between the passes over the images: statistics, and the small matrices of the edges. */

/* What the passes need of one convolution, in lanes of all clusters. */
typedef struct {
    int64_t kernel, dilation, stride, size, dense, taps; /* taps: vectors of a group's kernels */
    const int64_t *rows;
    V *kernels, *mirrored; /* [total][k*k]; dense: [clusters][k*k][groups][inputs] */
    V *mean, *bias;        /* [total]: output = matrix (z - mean) + bias */
    V *gain;               /* [total]: dense has it in place of the matrices */
    V *matrix;             /* [total][inputs] */
    V *back, *square;      /* [total][inputs]: grad of z = back g + square (z - mean) + shift */
    V *shift;              /* [total] */
} NAME(Prepared);
#define PREPARED NAME(Prepared)

/* One edge's matrices [edges of the cluster][C][C] into lanes, or transposed. */
static void NAME(to_lanes)(const L *l, int64_t cluster, V *lanes, const REAL *matrices, int transposed) {
    int64_t c = l->channels, edge, channel;
    for (int64_t group = 0; group < l->groups; group++)
        for (int64_t j = 0; j < l->inputs; j++) {
            V value = {0};
            int64_t width = c - 16 * group < 16 ? c - 16 * group : 16;
            const REAL *first = matrices + (transposed ? j * c + 16 * group : 16 * group * c + j);
            if (!l->packed && j < c)
                for (int64_t i = 0; i < width; i++) ((REAL *)&value)[i] = first[transposed ? i : i * c];
            for (int64_t i = 0; i < 16 && j < c && l->packed; i++)
                if (NAME(lane)(l, cluster, group, i, &edge, &channel)) {
                    const REAL *own = matrices + (l->packed ? i / c : 0) * c * c;
                    value[i] = transposed ? own[j * c + channel] : own[channel * c + j];
                }
            lanes[group * l->inputs + j] = value;
        }
}

/* Sums over the images of what each has left: [count] vectors, `stride` vectors apart. */
static void NAME(sum_images)(REAL *sums, const V *parts, int64_t batch, int64_t stride, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        double wide[16] = {0};
        for (int64_t n = 0; n < batch; n++) {
            const REAL *part = (const REAL *)(parts + n * stride + i);
            for (int lane = 0; lane < 16; lane++) wide[lane] += part[lane];
        }
        for (int lane = 0; lane < 16; lane++) sums[16 * i + lane] = (REAL)wide[lane];
    }
}

/* Mean and covariance of a cluster from those of its images: [groups] means, then [groups][inputs] moments. */
static void NAME(join_moments)(const L *l, REAL *mean, REAL *covariance, const V *parts, int64_t batch, int64_t stride) {
    int64_t width = 16 * l->groups, c = l->channels;
    NAME(sum_images)(mean, parts, batch, stride, l->groups);
    for (int64_t i = 0; i < width; i++) mean[i] /= (REAL)batch;
    NAME(sum_images)(covariance, parts + l->groups, batch, stride, l->groups * l->inputs);
    for (int64_t n = 0; n < batch; n++) {
        const REAL *own = (const REAL *)(parts + n * stride);
        for (int64_t group = 0; group < l->groups; group++)
            for (int64_t j = 0; j < l->inputs; j++) {
                REAL *to = covariance + (group * l->inputs + j) * 16;
                const REAL *left = own + 16 * group, *middle = mean + 16 * group;
                if (l->packed) {
                    for (int64_t i = 0; i < 16; i++) {
                        int64_t other = i / c * c + j;
                        to[i] += (REAL)l->pixels * (left[i] - middle[i]) * (own[other] - mean[other]);
                    }
                } else {
                    REAL right = (REAL)l->pixels * (own[j] - mean[j]);
                    for (int64_t i = 0; i < 16; i++) to[i] += right * (left[i] - middle[i]);
                }
            }
    }
    REAL share = (REAL)1 / (REAL)(batch * l->pixels);
    for (int64_t i = 0; i < 16 * l->groups * l->inputs; i++) covariance[i] *= share;
}

/* The C x C matrix of an edge out of lanes [groups][inputs][16]. */
static void NAME(matrix_of)(const L *l, int64_t edge, REAL *matrix, const REAL *lanes) {
    int64_t c = l->channels, first = l->packed ? edge % l->packed * c : 0;
    for (int64_t i = 0; i < c; i++)
        for (int64_t j = 0; j < c; j++) {
            int64_t group = l->packed ? 0 : i / 16, lane = l->packed ? first + i : i % 16;
            matrix[i * c + j] = lanes[(group * l->inputs + j) * 16 + lane];
        }
}

/* The channels of an edge out of lanes [groups][16]. */
static inline REAL NAME(lane_of)(const L *l, int64_t edge, int64_t channel, const REAL *lanes) {
    return lanes[l->packed ? edge % l->packed * l->channels + channel : channel];
}
static inline void NAME(set_lane)(const L *l, int64_t edge, int64_t channel, V *lanes, REAL value) {
    ((REAL *)lanes)[l->packed ? edge % l->packed * l->channels + channel : channel] = value;
}

static inline int64_t NAME(first_edge)(const L *l, int64_t cluster) { return l->packed ? cluster * l->packed : cluster; }
static inline int64_t NAME(last_edge)(const L *l, int64_t cluster) {
    int64_t last = l->packed ? (cluster + 1) * l->packed : cluster + 1;
    return last < l->n ? last : l->n;
}

/* What an edge's output is multiplied with. */
static inline REAL NAME(factor_of)(const REAL *scale, int64_t edge) { return scale ? scale[edge] : (REAL)1; }

/* Statistics of one cluster, and the matrix that its edges' outputs are made with. `scale` is [n] or null. */
static void NAME(know)(const Fan *fan, const L *l, const Operation *operation, int number, PREPARED *prepared,
                       const REAL *scale, int64_t cluster, const V *parts, int64_t stride) {
    int64_t c = l->channels, groups = l->groups, m = prepared->size, per = l->packed ? l->packed : 1;
    REAL *mean = claim((int64_t)sizeof(REAL) * (16 * groups * (1 + l->inputs) + (per + 1) * c * c));
    REAL *covariance = mean + 16 * groups, *sigma = covariance + 16 * groups * l->inputs, *matrices = sigma + c * c;
    const REAL *running = operation->running[number];
    memset(matrices, 0, sizeof(REAL) * per * c * c);
    if (!running) NAME(join_moments)(l, mean, covariance, parts, fan->batch, stride);
    for (int64_t edge = NAME(first_edge)(l, cluster); edge < NAME(last_edge)(l, cluster); edge++) {
        int64_t row = prepared->rows[edge];
        if (row < 0) continue;
        const REAL *mixing = (const REAL *)operation->mixing[number] + row * c * c;
        REAL *half = (REAL *)operation->half[number] + row * c * c, *known = (REAL *)operation->known[number] + row * c;
        REAL *own = matrices + (edge - NAME(first_edge)(l, cluster)) * c * c;
        if (!running) {
            NAME(matrix_of)(l, edge, sigma, covariance);
            memset(half, 0, sizeof(REAL) * c * c);
#pragma omp taskloop grainsize(16) if (c > 32)
            for (int64_t i = 0; i < c; i++)
                for (int64_t k = 0; k < c; k++)
                    for (int64_t j = 0; j < c; j++) half[i * c + j] += mixing[i * c + k] * sigma[k * c + j];
        }
        for (int64_t i = 0; i < c; i++) {
            REAL variance = 0, middle = 0, bias;
            if (running) {
                middle = running[row * c + i], variance = running[(m + row) * c + i];
            } else {
                for (int64_t j = 0; j < c; j++) {
                    variance += half[i * c + j] * mixing[i * c + j];
                    middle += mixing[i * c + j] * NAME(lane_of)(l, edge, j, mean);
                }
            }
            REAL inverse = (REAL)1 / (REAL)sqrt((double)variance + fan->eps);
            REAL factor = inverse * NAME(factor_of)(scale, edge);
            bias = running ? -middle * factor : (REAL)0;
            known[i] = running ? 0 : NAME(lane_of)(l, edge, i, mean);
            known[m * c + i] = inverse, known[2 * m * c + i] = middle, known[3 * m * c + i] = variance;
            NAME(set_lane)(l, edge, i, prepared->mean + cluster * groups, known[i]);
            NAME(set_lane)(l, edge, i, prepared->bias + cluster * groups, bias);
            for (int64_t j = 0; j < c; j++) own[i * c + j] = mixing[i * c + j] * factor;
        }
    }
    NAME(to_lanes)(l, cluster, prepared->matrix + cluster * groups * l->inputs, matrices, 0);
    free(mean);
}

/* Gradients of one cluster's small tensors, and the matrices that the gradient of z is made with.
 * `sums` are, over all images, [groups] of g and then [groups][inputs] of g (z - mean). */
static void NAME(know_gradients)(const Fan *fan, const L *l, const Operation *operation, int number, PREPARED *prepared,
                                 const REAL *scale, int64_t cluster, const REAL *sums, REAL *grad_scale) {
    int64_t c = l->channels, groups = l->groups, m = prepared->size, per = l->packed ? l->packed : 1;
    int64_t count = fan->batch * l->pixels;
    REAL *product = claim((int64_t)sizeof(REAL) * (c * c + 2 * per * c * c + c));
    REAL *backs = product + c * c, *squares = backs + per * c * c, *weights = squares + per * c * c;
    memset(backs, 0, sizeof(REAL) * 2 * per * c * c);
    for (int64_t edge = NAME(first_edge)(l, cluster); edge < NAME(last_edge)(l, cluster); edge++) {
        int64_t row = prepared->rows[edge], place = edge - NAME(first_edge)(l, cluster);
        if (row < 0) continue;
        const REAL *mixing = (const REAL *)operation->mixing[number] + row * c * c;
        const REAL *half = (const REAL *)operation->half[number] + row * c * c;
        const REAL *inverse = (const REAL *)operation->known[number] + (m + row) * c;
        REAL *grad = operation->grad_mixing[number] ? (REAL *)operation->grad_mixing[number] + row * c * c : 0;
        REAL *back = backs + place * c * c, *square = squares + place * c * c, of_scale = 0;
        NAME(matrix_of)(l, edge, product, sums + 16 * groups);
        for (int64_t j = 0; j < c; j++) NAME(set_lane)(l, edge, j, prepared->shift + cluster * groups, 0);
        for (int64_t i = 0; i < c; i++) {
            REAL factor = inverse[i] * NAME(factor_of)(scale, edge), of_factor = 0;
            for (int64_t j = 0; j < c; j++) of_factor += product[i * c + j] * mixing[i * c + j];
            REAL of_variance = -of_factor * factor * inverse[i] * inverse[i]; /* twice that of the variance */
            REAL sum = NAME(lane_of)(l, edge, i, sums), middle = sum / (REAL)count;
            of_scale += of_factor * inverse[i];
            for (int64_t j = 0; j < c; j++) {
                if (grad) grad[i * c + j] = product[i * c + j] * factor + of_variance * half[i * c + j];
                back[i * c + j] = mixing[i * c + j] * factor;
            }
            weights[i] = of_variance / (REAL)count;
            for (int64_t j = 0; j < c; j++) {
                REAL *shift = (REAL *)(prepared->shift + cluster * groups);
                shift[l->packed ? place * c + j : j] -= middle * back[i * c + j];
            }
        }
        if (grad_scale) grad_scale[edge] = of_scale;
#pragma omp taskloop grainsize(16) if (c > 32)
        for (int64_t k = 0; k < c; k++)
            for (int64_t i = 0; i < c; i++) {
                REAL own = mixing[i * c + k] * weights[i];
                for (int64_t j = 0; j < c; j++) square[k * c + j] += own * mixing[i * c + j];
            }
    }
    NAME(to_lanes)(l, cluster, prepared->back + cluster * groups * l->inputs, backs, 1);
    NAME(to_lanes)(l, cluster, prepared->square + cluster * groups * l->inputs, squares, 1);
    free(product);
}

/* Statistics of one cluster of an ordinary convolution; its parts are [groups] means and [groups] sums of squares. */
static void NAME(know_dense)(const Fan *fan, const L *l, const Operation *operation, PREPARED *prepared,
                             const REAL *scale, int64_t cluster, const V *parts, int64_t stride) {
    int64_t c = l->channels, groups = l->groups, m = prepared->size, edge, channel;
    const REAL *running = operation->running[0], *bias = operation->mixing[0];
    REAL *known = operation->known[0];
    for (int64_t group = 0; group < groups; group++)
        for (int64_t i = 0; i < 16; i++) {
            if (!NAME(lane)(l, cluster, group, i, &edge, &channel) || prepared->rows[edge] < 0) continue;
            int64_t at = prepared->rows[edge] * c + channel, to = cluster * groups + group;
            double mean = 0, squares = 0;
            REAL own = bias ? bias[at] : 0, shift, middle, variance;
            if (running) {
                middle = running[at], variance = running[m * c + at];
            } else {
                for (int64_t n = 0; n < fan->batch; n++) mean += parts[n * stride + group][i];
                mean /= (double)fan->batch;
                for (int64_t n = 0; n < fan->batch; n++) {
                    double away = parts[n * stride + group][i] - mean;
                    squares += parts[n * stride + groups + group][i] + (double)l->pixels * away * away;
                }
                middle = (REAL)mean + own, variance = (REAL)(squares / (double)(fan->batch * l->pixels));
            }
            REAL inverse = (REAL)1 / (REAL)sqrt((double)variance + fan->eps);
            REAL factor = inverse * NAME(factor_of)(scale, edge);
            shift = running ? (own - middle) * factor : (REAL)0;
            known[at] = (REAL)mean, known[m * c + at] = inverse;
            known[2 * m * c + at] = middle, known[3 * m * c + at] = variance;
            prepared->mean[to][i] = (REAL)mean, prepared->bias[to][i] = shift, prepared->gain[to][i] = factor;
        }
}

/* Its gradients: `sums` are [groups] of g and [groups] of g (z - mean). */
static void NAME(know_dense_gradients)(const Fan *fan, const L *l, const Operation *operation, PREPARED *prepared,
                                       const REAL *scale, int64_t cluster, const REAL *sums, REAL *grad_scale) {
    int64_t c = l->channels, groups = l->groups, m = prepared->size, edge, channel;
    REAL count = (REAL)(fan->batch * l->pixels);
    const REAL *inverses = (const REAL *)operation->known[0] + m * c;
    for (edge = NAME(first_edge)(l, cluster); grad_scale && edge < NAME(last_edge)(l, cluster); edge++)
        if (prepared->rows[edge] >= 0) grad_scale[edge] = 0;
    for (int64_t group = 0; group < groups; group++)
        for (int64_t i = 0; i < 16; i++) {
            if (!NAME(lane)(l, cluster, group, i, &edge, &channel) || prepared->rows[edge] < 0) continue;
            int64_t at = prepared->rows[edge] * c + channel, to = cluster * groups + group;
            REAL inverse = inverses[at], factor = inverse * NAME(factor_of)(scale, edge);
            REAL of_factor = sums[16 * (groups + group) + i];
            prepared->gain[to][i] = factor;
            prepared->square[to][i] = -of_factor * factor * inverse * inverse / count;
            prepared->shift[to][i] = -factor * sums[16 * group + i] / count;
            if (grad_scale) grad_scale[edge] += of_factor * inverse;
            if (operation->grad_mixing[0]) ((REAL *)operation->grad_mixing[0])[at] = 0; /* the BN takes a bias away */
        }
}

/* Weights [m, C, C, k*k] of ordinary convolutions in lanes; or mirrored, with outputs and inputs exchanged. */
static void NAME(spread_dense)(const L *l, const PREPARED *prepared, int64_t cluster, const REAL *weights, int mirrored) {
    int64_t c = l->channels, taps = prepared->kernel * prepared->kernel, per = l->groups * l->inputs, edge, channel;
    REAL *to = (REAL *)((mirrored ? prepared->mirrored : prepared->kernels) + cluster * taps * per);
    for (int64_t group = 0; group < l->groups; group++)
        for (int64_t i = 0; i < 16; i++) {
            if (!NAME(lane)(l, cluster, group, i, &edge, &channel) || prepared->rows[edge] < 0) continue;
            const REAL *own = weights + prepared->rows[edge] * c * c * taps;
            for (int64_t j = 0; j < c; j++) {
                const REAL *from = own + (mirrored ? j * c + channel : channel * c + j) * taps;
                REAL *lane = to + (group * l->inputs + j) * 16 + i;
                for (int64_t tap = 0; tap < taps; tap++) lane[tap * per * 16] = from[mirrored ? taps - 1 - tap : tap];
            }
        }
}

/* Gradients of such weights out of lanes. */
static void NAME(fold_dense)(const L *l, const PREPARED *prepared, int64_t cluster, REAL *grad, const REAL *lanes) {
    int64_t c = l->channels, taps = prepared->kernel * prepared->kernel, per = l->groups * l->inputs, edge, channel;
    for (int64_t group = 0; group < l->groups; group++)
        for (int64_t i = 0; i < 16; i++) {
            if (!NAME(lane)(l, cluster, group, i, &edge, &channel) || prepared->rows[edge] < 0) continue;
            for (int64_t j = 0; j < c; j++) {
                REAL *to = grad + ((prepared->rows[edge] * c + channel) * c + j) * taps;
                const REAL *lane = lanes + (group * l->inputs + j) * 16 + i;
                for (int64_t tap = 0; tap < taps; tap++) to[tap] = lane[tap * per * 16];
            }
        }
}

/* Kernels [m, C, k*k] in lanes, and mirrored. */
static void NAME(spread_kernels)(const L *l, PREPARED *prepared, const REAL *kernels) {
    int64_t taps = prepared->kernel * prepared->kernel, edge, channel;
    for (int64_t cluster = 0; cluster < l->clusters; cluster++)
        for (int64_t group = 0; group < l->groups; group++)
            for (int64_t tap = 0; tap < taps; tap++) {
                V value = {0};
                for (int64_t i = 0; i < 16; i++)
                    if (NAME(lane)(l, cluster, group, i, &edge, &channel) && prepared->rows[edge] >= 0)
                        value[i] = kernels[(prepared->rows[edge] * l->channels + channel) * taps + tap];
                int64_t first = (cluster * l->groups + group) * taps;
                prepared->kernels[first + tap] = value;
                prepared->mirrored[first + taps - 1 - tap] = value;
            }
}

/* Gradients of a cluster's kernels out of lanes. */
static void NAME(fold_kernels)(const L *l, const PREPARED *prepared, int64_t cluster, REAL *grad, const REAL *lanes) {
    int64_t taps = prepared->kernel * prepared->kernel, edge, channel;
    for (int64_t group = 0; group < l->groups; group++)
        for (int64_t i = 0; i < 16; i++)
            if (NAME(lane)(l, cluster, group, i, &edge, &channel) && prepared->rows[edge] >= 0)
                for (int64_t tap = 0; tap < taps; tap++)
                    grad[(prepared->rows[edge] * l->channels + channel) * taps + tap] = lanes[(group * taps + tap) * 16 + i];
}
