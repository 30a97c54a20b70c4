/* Ordinary convolutions, on groups of lanes that hold one output's channels and nothing else.
 *
 * Slabs have a border where a convolution reads them; rows of one lie `pitch` and groups `slab` pixels apart. Matrices
 * are [taps][groups out][inputs].
 */

/* Groups of lanes of the output and of the input, the input's channels, and the output's rows and columns. */
typedef struct {
    int64_t outputs, inputs, channels, height, width;
} NAME(Size);
#define SIZE NAME(Size)

#define ALL(v) ((V){v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v})

/* Lanes of an input's group that hold a channel. */
static inline int64_t NAME(lanes_in_use)(const SIZE *s, int64_t group) {
    return s->channels - 16 * group < 16 ? s->channels - 16 * group : 16;
}

/* A number of the input is read once for the three taps of a row, so that it is arithmetic that takes the time:
 * COUNT outputs of one row and one group, from all groups of the input. */
#define ROW_OF_3X3(COUNT) \
static inline void NAME(row_of_##COUNT)(const SIZE *s, V *out, const V *in, int64_t pitch, int64_t slab, const V *matrices, \
                                        int add) { \
    V sums[COUNT]; \
    int64_t per = 16 * s->outputs * s->inputs; \
    if (add) { \
        _Pragma("GCC unroll 16") for (int p = 0; p < COUNT; p++) sums[p] = out[p]; \
    } else { \
        _Pragma("GCC unroll 16") for (int p = 0; p < COUNT; p++) sums[p] = (V){0}; \
    } \
    for (int64_t y = 0; y < 3; y++) \
        for (int64_t group = 0; group < s->inputs; group++) { \
            const REAL *values = (const REAL *)(in + y * pitch + group * slab); \
            const V *left = matrices + 3 * y * per + 16 * group, *middle = left + per, *right = middle + per; \
            int64_t used = NAME(lanes_in_use)(s, group); \
            for (int64_t j = 0; j < used; j++) { \
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
ROW_OF_3X3(14)
ROW_OF_3X3(8)
ROW_OF_3X3(7)
ROW_OF_3X3(4)
ROW_OF_3X3(2)
ROW_OF_3X3(1)

/* How many outputs of a row are computed at once where so many are left; images of 28 pixels shrink to 14 and 7. */
static inline int64_t NAME(block_of)(int64_t left) {
    if (left == 28 || left == 14 || left == 7) return left == 7 ? 7 : 14;
    return left >= 16 ? 16 : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}
#define EACH_BLOCK(CALL) \
    switch (block) { \
        case 16: CALL(16); break; \
        case 14: CALL(14); break; \
        case 8: CALL(8); break; \
        case 7: CALL(7); break; \
        case 4: CALL(4); break; \
        case 2: CALL(2); break; \
        default: CALL(1); \
    }

/* out[group][y][x] (+)= the convolution 3x3 of stride 1; rows and groups of `out` lie `row` and `out_slab` pixels apart. */
static void NAME(convolve_3x3)(const SIZE *s, V *out, int64_t row, int64_t out_slab, const V *in, int64_t pitch, int64_t slab,
                               const V *matrices, int add) {
    for (int64_t group = 0; group < s->outputs; group++)
        for (int64_t y = 0; y < s->height; y++) {
            V *to = out + group * out_slab + y * row;
            const V *from = in + y * pitch, *own = matrices + 16 * group * s->inputs;
            for (int64_t x = 0, block; x < s->width; x += block) {
                block = NAME(block_of)(s->width - x);
#define CALL(count) NAME(row_of_##count)(s, to + x, from + x, pitch, slab, own, add)
                EACH_BLOCK(CALL)
#undef CALL
            }
        }
}

/* sums[3][groups][inputs] += gradients of a row of taps, of eight inputs of one group and one group of outputs. */
static inline void NAME(correlate_row)(V *sums, int64_t per, const V *g, int64_t g_pitch, const V *in, int64_t pitch,
                                       int64_t height, int64_t width) {
    V a[8], b[8], c[8];
    _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) a[j] = sums[j], b[j] = sums[per + j], c[j] = sums[2 * per + j];
    for (int64_t y = 0; y < height; y++) {
        const REAL *values = (const REAL *)(in + y * pitch);
        const V *grads = g + y * g_pitch;
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
static void NAME(correlate_3x3)(const SIZE *s, V *parts, const V *grads, int64_t g_pitch, int64_t g_slab, const V *in,
                                int64_t pitch, int64_t slab) {
    int64_t per = 16 * s->outputs * s->inputs;
    for (int64_t y = 0; y < 3; y++)
        for (int64_t i = 0; i < s->outputs; i++)
            for (int64_t j = 0; j < s->channels; j += 8)
                NAME(correlate_row)(parts + 3 * y * per + 16 * i * s->inputs + j, per, grads + i * g_slab, g_pitch,
                                    (const V *)((const REAL *)(in + y * pitch + j / 16 * slab) + j % 16), pitch,
                                    s->height, s->width);
}
