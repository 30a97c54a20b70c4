/* The backward pass of a fan. */

/* Sums of g and of g (z - mean) over one image's tile of a cluster. */
static inline void NAME(add_products)(const L *l, V *parts, const V *grads, const V *z, const V *mean, V *tile) {
    for (int64_t first = 0; first < l->pixels; first += TILE) {
        int64_t count = l->pixels - first < TILE ? l->pixels - first : TILE;
        NAME(centre)(l, tile, z, mean, first, count);
        for (int64_t group = 0; group < l->groups; group++) {
            V sum = {0};
            for (int64_t i = 0; i < count; i++) sum += grads[group * l->pixels + first + i];
            parts[group] += sum;
        }
        NAME(outer)(l, parts + l->groups, grads + first, l->pixels, tile, TILE, count);
    }
}

/* The gradients of a cluster's outputs in slabs. */
static inline void NAME(gather_slabs)(const PASS *pass, V *grads, int64_t n, int64_t cluster) {
    const L *l = &pass->l;
    for (int64_t group = 0; group < l->groups; group++)
        NAME(gather)(l, grads + group * l->pixels, (const REAL *const *)pass->fan->grads, n * l->pixels, l->pixels,
                     cluster, group);
}

/* Gradients of what edges share, of one image and cluster; `sums` are slabs of each term. */
static void NAME(share)(const PASS *pass, V *sums, V *of_shares, const V *grads, V *terms, int64_t n, int64_t cluster) {
    const L *l = &pass->l;
    const Fan *fan = pass->fan;
    for (int64_t t = 0; t < fan->num_shared; t++) {
        V share = NAME(of_edges)(l, (const REAL *)fan->shares + t * l->n, cluster), sum = {0};
        const REAL *term = (const REAL *)fan->shared[t] + n * l->pixels * l->channels;
        for (int64_t group = 0; group < l->groups; group++) {
            const V *own = grads + group * l->pixels;
            NAME(spread)(l, terms, term, l->pixels, group);
            for (int64_t i = 0; i < l->pixels; i++) sum += own[i] * terms[i];
            if (!fan->grad_shared[t]) continue;
            V *to = sums + (t * l->groups + group) * l->pixels;
            for (int64_t i = 0; i < l->pixels; i++) to[i] += share * own[i];
        }
        of_shares[t] = sum;
    }
}

/* Join the images' parts of one convolution of every operation that has it. */
static void NAME(join_products)(const PASS *pass, int number, int last, const V *parts, int64_t stride) {
    const Fan *fan = pass->fan;
    const L *l = &pass->l;
    int64_t per = l->groups * (1 + l->inputs);
#pragma omp for schedule(dynamic) collapse(2)
    for (int64_t o = 0; o < fan->num_operations; o++)
        for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
            const Operation *own = fan->operations + o;
            int which = last ? (int)own->repeats - 1 : number;
            PREPARED *p = NAME(prepared)(pass, o, which);
            if ((!last && own->repeats != 2) || !NAME(is_live)(l, cluster, p->rows)) continue;
            REAL *sums = (REAL *)NAME(scratch)(SUMS, per);
            NAME(sum_images)(sums, parts + (o * l->clusters + cluster) * per, fan->batch, stride, per);
            const REAL *scale = NAME(scale_of)(pass, o, which);
            NAME(know_gradients)(fan, l, own, which, p, scale, cluster, sums, scale ? own->grad_factors : 0);
        }
}

/* What is known from the forward pass, in lanes again. */
static void NAME(remember)(const PASS *pass) {
    const L *l = &pass->l;
    int64_t c = l->channels, per = l->packed ? l->packed : 1;
    REAL *matrices = malloc(sizeof(REAL) * per * c * c);
    for (int64_t o = 0; o < pass->fan->num_operations; o++)
        for (int number = 0; number < pass->fan->operations[o].repeats; number++) {
            const Operation *own = pass->fan->operations + o;
            PREPARED *p = NAME(prepared)(pass, o, number);
            const REAL *scale = NAME(scale_of)(pass, o, number), *known = own->known[number];
            for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                memset(matrices, 0, sizeof(REAL) * per * c * c);
                for (int64_t edge = NAME(first_edge)(l, cluster); edge < NAME(last_edge)(l, cluster); edge++) {
                    int64_t row = p->rows[edge];
                    if (row < 0) continue;
                    const REAL *mixing = (const REAL *)own->mixing[number] + row * c * c;
                    for (int64_t i = 0; i < c; i++) {
                        REAL inverse = known[(p->size + row) * c + i], factor = scale ? inverse * scale[edge] : inverse;
                        REAL *to = matrices + (edge - NAME(first_edge)(l, cluster)) * c * c + i * c;
                        NAME(set_lane)(l, edge, i, p->mean + cluster * l->groups, known[row * c + i]);
                        for (int64_t j = 0; j < c; j++) to[j] = mixing[i * c + j] * factor;
                    }
                }
                NAME(to_lanes)(l, cluster, p->matrix + cluster * l->groups * l->inputs, matrices, 0);
            }
        }
    free(matrices);
}

static void NAME(backward)(const Fan *fan) {
    PREPARED prepared[2 * MAX_OPERATIONS];
    PASS pass = NAME(begin)(fan, prepared);
    const L *l = &pass.l;
    int64_t per = l->groups * (1 + l->inputs), stride = fan->num_operations * l->clusters * per, taps = 0, second = 0;
    int64_t of_operation[MAX_OPERATIONS], slabs_of[MAX_OPERATIONS], slab = l->groups * l->pixels;
    int deep = 0, weights = 0;
    for (int64_t o = 0; o < fan->num_operations; o++) {
        const Operation *own = fan->operations + o;
        of_operation[o] = taps, taps += own->repeats * l->total * own->kernel * own->kernel;
        slabs_of[o] = second, second += own->repeats == 2;
        weights |= own->grad_kernels[0] != 0;
        deep |= own->repeats == 2;
    }
    int onward = weights || fan->grad_x;
    V *parts = NAME(scratch)(PARTS, fan->batch * stride), *of_kernels = NAME(scratch)(PARTS_OF_KERNELS, fan->batch * taps);
    V *of_shares = NAME(scratch)(PARTS_OF_SHARES, fan->batch * l->clusters * fan->num_shared);
    NAME(remember)(&pass);

#pragma omp parallel num_threads((int)fan->threads)
    {
        V *padded = NAME(scratch)(PADDED, l->groups * pass.padded), *hidden = NAME(scratch)(HIDDEN, l->groups * pass.padded);
        V *slabs = NAME(scratch)(SLAB, slab), *others = NAME(scratch)(OTHER_SLAB, slab);
        V *grads = NAME(scratch)(GRADS, slab), *grad_x = NAME(scratch)(GRAD_X, l->groups * pass.padded);
        V *tile = NAME(scratch)(TILES, l->groups * TILE);
        V *shared = NAME(scratch)(SHARED, (fan->num_shared + 1) * slab), *terms = shared + fan->num_shared * slab;
        memset(padded, 0, l->groups * pass.padded * sizeof(V));
        memset(hidden, 0, l->groups * pass.padded * sizeof(V));

        /* from the outputs to the last convolutions and to what is shared */
#pragma omp for schedule(static)
        for (int64_t n = 0; n < fan->batch; n++) {
            memset(shared, 0, fan->num_shared * slab * sizeof(V));
            for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                NAME(gather_slabs)(&pass, grads, n, cluster);
                NAME(share)(&pass, shared, of_shares + (n * l->clusters + cluster) * fan->num_shared, grads, terms, n,
                            cluster);
                for (int64_t o = 0; o < fan->num_operations; o++) {
                    int last = (int)fan->operations[o].repeats - 1;
                    PREPARED *p = NAME(prepared)(&pass, o, last);
                    V *own = parts + n * stride + (o * l->clusters + cluster) * per;
                    if (!NAME(is_live)(l, cluster, p->rows)) continue;
                    memset(own, 0, per * sizeof(V));
                    NAME(add_products)(l, own, grads, NAME(z_of)(&pass, o, last, n, cluster),
                                       p->mean + cluster * l->groups, tile);
                }
            }
            for (int64_t t = 0; t < fan->num_shared; t++)
                for (int64_t group = 0; group < l->groups && fan->grad_shared[t]; group++)
                    NAME(fold)(l, (REAL *)fan->grad_shared[t] + n * l->pixels * l->channels,
                               shared + (t * l->groups + group) * l->pixels, l->pixels, group);
        }
        NAME(join_products)(&pass, 0, 1, parts, stride);

        /* through second convolutions to the ReLU before them */
        if (onward && deep) {
#pragma omp for schedule(static)
            for (int64_t n = 0; n < fan->batch; n++)
                for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                    NAME(gather_slabs)(&pass, grads, n, cluster);
                    for (int64_t o = 0; o < fan->num_operations; o++) {
                        PREPARED *p = NAME(prepared)(&pass, o, 1), *before = NAME(prepared)(&pass, o, 0);
                        if (fan->operations[o].repeats != 2 || !NAME(is_live)(l, cluster, before->rows)) continue;
                        const V *z = NAME(z_of)(&pass, o, 0, n, cluster);
                        V *own = parts + n * stride + (o * l->clusters + cluster) * per;
                        V *to = (V *)fan->hidden_grads + (slabs_of[o] * fan->batch * l->clusters + n * l->clusters + cluster) * slab;
                        int64_t size = p->kernel * p->kernel;
                        NAME(normalise)(l, others, before, z, tile, cluster);
                        NAME(back)(l, slabs, p, grads, NAME(z_of)(&pass, o, 1, n, cluster), tile, cluster);
                        for (int64_t group = 0; group < l->groups; group++)
                            NAME(pad_slab)(&pass, hidden + group * pass.padded, slabs + group * l->pixels, 0);
                        for (int64_t group = 0; group < l->groups; group++) {
                            V *out = to + group * l->pixels;
                            const V *seen = others + group * l->pixels;
                            NAME(convolve)(out, l->out_width, hidden + group * pass.padded + NAME(corner)(&pass, p), pass.pitch,
                                           p->mirrored + (cluster * l->groups + group) * size, l->out_height,
                                           l->out_width, (int)p->kernel, 1, (int)p->dilation, 0);
                            for (int64_t i = 0; i < l->pixels; i++) out[i] = NAME(positive)(out[i], seen[i]);
                        }
                        memset(own, 0, per * sizeof(V));
                        NAME(add_products)(l, own, to, z, before->mean + cluster * l->groups, tile);
                        if (!weights) continue;
                        for (int64_t group = 0; group < l->groups; group++)
                            NAME(pad_slab)(&pass, hidden + group * pass.padded, others + group * l->pixels, 1);
                        NAME(correlate_cluster)(&pass, p, of_kernels + n * taps + of_operation[o] + (l->total + cluster * l->groups) * size,
                                                slabs, hidden);
                    }
                }
            NAME(join_products)(&pass, 0, 0, parts, stride);
        }

        /* through first convolutions to the input */
        if (onward) {
#pragma omp for schedule(static)
            for (int64_t n = 0; n < fan->batch; n++) {
                NAME(pad_input)(&pass, padded, n);
                memset(grad_x, 0, l->groups * pass.padded * sizeof(V));
                for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                    NAME(gather_slabs)(&pass, grads, n, cluster);
                    for (int64_t o = 0; o < fan->num_operations; o++) {
                        PREPARED *p = NAME(prepared)(&pass, o, 0);
                        if (!NAME(is_live)(l, cluster, p->rows)) continue;
                        const V *from = grads;
                        int64_t size = p->kernel * p->kernel;
                        if (fan->operations[o].repeats == 2)
                            from = (V *)fan->hidden_grads + (slabs_of[o] * fan->batch * l->clusters + n * l->clusters + cluster) * slab;
                        NAME(back)(l, slabs, p, from, NAME(z_of)(&pass, o, 0, n, cluster), tile, cluster);
                        if (weights)
                            NAME(correlate_cluster)(&pass, p, of_kernels + n * taps + of_operation[o] + cluster * l->groups * size,
                                                    slabs, padded);
                        for (int64_t group = 0; group < l->groups && fan->grad_x; group++) {
                            V *to = grad_x + group * pass.padded;
                            int64_t first = (cluster * l->groups + group) * size;
                            if (p->stride == 1) {
                                NAME(pad_slab)(&pass, hidden + group * pass.padded, slabs + group * l->pixels, 0);
                                NAME(convolve)(to + pass.margin * pass.pitch + pass.margin, pass.pitch,
                                               hidden + group * pass.padded + NAME(corner)(&pass, p), pass.pitch, p->mirrored + first,
                                               l->out_height, l->out_width, (int)p->kernel, 1, (int)p->dilation, 1);
                            } else {
                                NAME(transpose)(to + NAME(corner)(&pass, p), pass.pitch, slabs + group * l->pixels,
                                                l->out_width, p->kernels + first, l->out_height, l->out_width,
                                                (int)p->kernel, (int)p->stride, (int)p->dilation);
                            }
                        }
                    }
                }
                for (int64_t group = 0; group < l->groups && fan->grad_x; group++)
                    for (int64_t y = 0; y < fan->height; y++)
                        NAME(fold)(l, (REAL *)fan->grad_x + (n * fan->height + y) * fan->width * fan->channels,
                                   grad_x + group * pass.padded + (y + pass.margin) * pass.pitch + pass.margin, fan->width,
                                   group);
            }
        }
    }

    for (int64_t o = 0; o < fan->num_operations && weights; o++)
        for (int number = 0; number < fan->operations[o].repeats; number++) {
            PREPARED *p = NAME(prepared)(&pass, o, number);
            int64_t count = l->total * p->kernel * p->kernel;
            REAL *sums = (REAL *)NAME(scratch)(SUMS, count);
            NAME(sum_images)(sums, of_kernels + of_operation[o] + number * count, fan->batch, taps, count);
            NAME(fold_kernels)(l, p, fan->operations[o].grad_kernels[number], sums);
        }
    for (int64_t t = 0; t < fan->num_shared; t++)
        for (int64_t cluster = 0; cluster < l->clusters; cluster++)
            for (int64_t edge = NAME(first_edge)(l, cluster); edge < NAME(last_edge)(l, cluster); edge++) {
                double sum = 0;
                int64_t first = l->packed ? edge % l->packed * l->channels : 0, width = l->packed ? l->channels : 16;
                for (int64_t n = 0; n < fan->batch; n++)
                    for (int64_t i = 0; i < width; i++)
                        sum += ((REAL *)(of_shares + (n * l->clusters + cluster) * fan->num_shared + t))[first + i];
                ((REAL *)fan->grad_shares)[t * l->n + edge] = (REAL)sum;
            }
}
