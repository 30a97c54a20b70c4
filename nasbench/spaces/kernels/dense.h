/* Ordinary 3x3 convolutions where an edge has its groups of lanes for itself.
 *
 * A number of the input is read once for the three taps of a row, so that it is arithmetic that takes the time.
 */

#define ALL(v) ((V){v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v})

/* COUNT outputs of one row and one group, from all groups of the input; matrices [9][groups][inputs]. */
#define ROW_OF_3X3(COUNT) \
static inline void NAME(row_of_##COUNT)(const L *l, V *out, const V *in, int64_t pitch, int64_t slab, const V *matrices, \
                                        int64_t per, int add) { \
    V sums[COUNT]; \
    if (add) { \
        _Pragma("GCC unroll 16") for (int p = 0; p < COUNT; p++) sums[p] = out[p]; \
    } else { \
        _Pragma("GCC unroll 16") for (int p = 0; p < COUNT; p++) sums[p] = (V){0}; \
    } \
    for (int64_t y = 0; y < 3; y++) \
        for (int64_t group = 0; group < l->groups; group++) { \
            const REAL *values = (const REAL *)(in + y * pitch + group * slab); \
            const V *left = matrices + 3 * y * per + 16 * group, *middle = left + per, *right = middle + per; \
            for (int64_t j = 0; j < 16; j++) { \
                V a = left[j], b = middle[j], c = right[j]; \
                _Pragma("GCC unroll 18") for (int q = 0; q < COUNT + 2; q++) { \
                    V value = ALL(values[16 * q + j]); \
                    if (q < COUNT) sums[q] += a * value; \
                    if (q >= 1 && q <= COUNT) sums[q - 1] += b * value; \
                    if (q >= 2) sums[q - 2] += c * value; \
                } \
            } \
        } \
    _Pragma("GCC unroll 16") for (int p = 0; p < COUNT; p++) out[p] = sums[p]; \
}
ROW_OF_3X3(16)
ROW_OF_3X3(8)
ROW_OF_3X3(1)

/* out[group][y][x] (+)= the convolution; rows and groups of `out` lie `row` and `out_slab` pixels apart. */
static void NAME(convolve_3x3)(const L *l, V *out, int64_t row, int64_t out_slab, const V *in, int64_t pitch, int64_t slab,
                               const V *matrices, int add) {
    int64_t per = l->groups * l->inputs;
    for (int64_t group = 0; group < l->groups; group++)
        for (int64_t y = 0; y < l->out_height; y++) {
            V *to = out + group * out_slab + y * row;
            const V *from = in + y * pitch, *own = matrices + group * l->inputs;
            int64_t x = 0;
            for (; x + 16 <= l->out_width; x += 16) NAME(row_of_16)(l, to + x, from + x, pitch, slab, own, per, add);
            for (; x + 8 <= l->out_width; x += 8) NAME(row_of_8)(l, to + x, from + x, pitch, slab, own, per, add);
            for (; x < l->out_width; x++) NAME(row_of_1)(l, to + x, from + x, pitch, slab, own, per, add);
        }
}

/* sums[3][groups][inputs] += gradients of a row of taps, of eight inputs of one group and one group of outputs. */
static inline void NAME(correlate_row)(V *sums, int64_t per, const V *g, const V *in, int64_t pitch, int64_t height,
                                       int64_t width) {
    V a[8], b[8], c[8];
    _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) a[j] = sums[j], b[j] = sums[per + j], c[j] = sums[2 * per + j];
    for (int64_t y = 0; y < height; y++) {
        const REAL *values = (const REAL *)(in + y * pitch);
        const V *grads = g + y * width;
        V first = {0}, second = {0}, third = {0}; /* of the outputs that see an input as their left, middle, right tap */
        for (int64_t x = 0; x < width + 2; x++) {
            third = second, second = first;
            first = x < width ? grads[x] : (V){0};
            _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) {
                V value = ALL(values[16 * x + j]);
                a[j] += first * value, b[j] += second * value, c[j] += third * value;
            }
        }
    }
    _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) sums[j] = a[j], sums[per + j] = b[j], sums[2 * per + j] = c[j];
}

/* parts[9][groups][inputs] += the gradient of the weights of one image. */
static void NAME(correlate_3x3)(const L *l, V *parts, const V *grads, const V *in, int64_t pitch, int64_t slab) {
    int64_t per = l->groups * l->inputs;
    for (int64_t y = 0; y < 3; y++)
        for (int64_t i = 0; i < l->groups; i++)
            for (int64_t j = 0; j < l->inputs; j += 8)
                NAME(correlate_row)(parts + 3 * y * per + i * l->inputs + j, per, grads + i * l->pixels,
                                    (const V *)((const REAL *)(in + y * pitch + j / 16 * slab) + j % 16), pitch,
                                    l->out_height, l->out_width);
}
