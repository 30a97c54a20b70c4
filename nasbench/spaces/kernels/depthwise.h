/* Depthwise convolutions of one group of one image, and their gradients. Images are padded: no border is looked at. */

#ifdef MANY_REGISTERS
#define UNROLL _Pragma("GCC unroll 8")
#else
#define UNROLL
#endif

/* out[y][x] (+)= sum of w[i][j] * in[y*s + i*d][x*s + j*d]; pitches are in pixels. */
static inline __attribute__((always_inline)) void NAME(convolve_k)(
    V *out, int64_t out_pitch, const V *in, int64_t in_pitch, const V *w, int64_t height, int64_t width, const int k,
    const int s, const int d, const int add) {
    for (int64_t y = 0; y < height; y++) {
        const V *row = in + y * s * in_pitch;
        V *to = out + y * out_pitch;
        int64_t x = 0;
        for (; x + 4 <= width; x += 4) {
            V s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
            if (add) s0 = to[x], s1 = to[x + 1], s2 = to[x + 2], s3 = to[x + 3];
            UNROLL for (int i = 0; i < k; i++) {
                const V *from = row + i * d * in_pitch + x * s;
                UNROLL for (int j = 0; j < k; j++) {
                    V weight = w[i * k + j];
                    s0 += weight * from[j * d], s1 += weight * from[s + j * d];
                    s2 += weight * from[2 * s + j * d], s3 += weight * from[3 * s + j * d];
                }
            }
            to[x] = s0, to[x + 1] = s1, to[x + 2] = s2, to[x + 3] = s3;
        }
        for (; x < width; x++) {
            V sum = {0};
            if (add) sum = to[x];
            UNROLL for (int i = 0; i < k; i++)
                UNROLL for (int j = 0; j < k; j++) sum += w[i * k + j] * row[i * d * in_pitch + x * s + j * d];
            to[x] = sum;
        }
    }
}

/* grad_w[i][j] += sum of g[y][x] * in[y*s + i*d][x*s + j*d]. */
static inline __attribute__((always_inline)) void NAME(correlate_k)(
    V *grad_w, const V *g, int64_t g_pitch, const V *in, int64_t in_pitch, int64_t height, int64_t width, const int k,
    const int s, const int d) {
    for (int first = 0; first < k; first += 5) { /* at most 5 rows: as many sums as there are registers */
        V sums[25] = {{0}};
        const int rows = k - first < 5 ? k - first : 5;
        for (int column = 0; column < k; column += 5) {
            const int columns = k - column < 5 ? k - column : 5;
            UNROLL for (int i = 0; i < rows; i++)
                UNROLL for (int j = 0; j < columns; j++) sums[i * 5 + j] = grad_w[(first + i) * k + column + j];
            for (int64_t y = 0; y < height; y++) {
                const V *row = in + (y * s + first * d) * in_pitch + column * d, *left = g + y * g_pitch;
                for (int64_t x = 0; x < width; x++) {
                    V value = left[x];
                    UNROLL for (int i = 0; i < rows; i++)
                        UNROLL for (int j = 0; j < columns; j++) sums[i * 5 + j] += value * row[i * d * in_pitch + x * s + j * d];
                }
            }
            UNROLL for (int i = 0; i < rows; i++)
                UNROLL for (int j = 0; j < columns; j++) grad_w[(first + i) * k + column + j] = sums[i * 5 + j];
        }
    }
}

/* grad_in[y*s + i*d][x*s + j*d] += w[i][j] * g[y][x]: the transposed convolution. */
static inline __attribute__((always_inline)) void NAME(transpose_k)(
    V *grad_in, int64_t in_pitch, const V *g, int64_t g_pitch, const V *w, int64_t height, int64_t width, const int k,
    const int s, const int d) {
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            V value = g[y * g_pitch + x];
            V *to = grad_in + y * s * in_pitch + x * s;
            UNROLL for (int i = 0; i < k; i++)
                UNROLL for (int j = 0; j < k; j++) to[i * d * in_pitch + j * d] += w[i * k + j] * value;
        }
}

/* With registers for a whole kernel it pays to have each form compiled for itself. */
#ifdef MANY_REGISTERS
#define FORMS(k, s, d, CALL) \
    if (k == 3 && s == 1 && d == 1) { CALL(3, 1, 1); } \
    else if (k == 5 && s == 1 && d == 1) { CALL(5, 1, 1); } \
    else if (k == 3 && s == 1 && d == 2) { CALL(3, 1, 2); } \
    else if (k == 5 && s == 1 && d == 2) { CALL(5, 1, 2); } \
    else if (k == 3 && s == 2 && d == 1) { CALL(3, 2, 1); } \
    else if (k == 5 && s == 2 && d == 1) { CALL(5, 2, 1); } \
    else if (k == 3 && s == 2 && d == 2) { CALL(3, 2, 2); } \
    else if (k == 5 && s == 2 && d == 2) { CALL(5, 2, 2); } \
    else { CALL(k, s, d); }
#else
#define FORMS(k, s, d, CALL) CALL(k, s, d);
#endif

static void NAME(convolve)(V *out, int64_t out_pitch, const V *in, int64_t in_pitch, const V *w, int64_t height,
                           int64_t width, int k, int s, int d, int add) {
#define CALL(k, s, d) \
    if (add) NAME(convolve_k)(out, out_pitch, in, in_pitch, w, height, width, k, s, d, 1); \
    else NAME(convolve_k)(out, out_pitch, in, in_pitch, w, height, width, k, s, d, 0)
    FORMS(k, s, d, CALL)
#undef CALL
}

static void NAME(correlate)(V *grad_w, const V *g, int64_t g_pitch, const V *in, int64_t in_pitch, int64_t height,
                            int64_t width, int k, int s, int d) {
#define CALL(k, s, d) NAME(correlate_k)(grad_w, g, g_pitch, in, in_pitch, height, width, k, s, d)
    FORMS(k, s, d, CALL)
#undef CALL
}

static void NAME(transpose)(V *grad_in, int64_t in_pitch, const V *g, int64_t g_pitch, const V *w, int64_t height,
                            int64_t width, int k, int s, int d) {
#define CALL(k, s, d) NAME(transpose_k)(grad_in, in_pitch, g, g_pitch, w, height, width, k, s, d)
    FORMS(k, s, d, CALL)
#undef CALL
}
