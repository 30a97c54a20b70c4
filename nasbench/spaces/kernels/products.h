/* Products with the matrices of the edges, on a tile of pixels: the inner loops of pointwise convolutions. */

#define PICKED(C, j) (NAME(Mask)){ \
    0 / C * C + j, 1 / C * C + j, 2 / C * C + j, 3 / C * C + j, 4 / C * C + j, 5 / C * C + j, 6 / C * C + j, \
    7 / C * C + j, 8 / C * C + j, 9 / C * C + j, 10 / C * C + j, 11 / C * C + j, 12 / C * C + j, 13 / C * C + j, \
    14 / C * C + j, 15 / C * C + j}

/* out[p] += M z[p] where several edges share the lanes. */
#define PACKED_PRODUCT(C) \
static inline void NAME(product_##C)(V *out, const V *z, const V *matrix, int64_t count) { \
    V m[C]; \
    for (int j = 0; j < C; j++) m[j] = matrix[j]; \
    for (int64_t p = 0; p < count; p++) { \
        V sum = out[p], value = z[p]; \
        _Pragma("GCC unroll 8") for (int j = 0; j < C; j++) sum += m[j] * __builtin_shuffle(value, PICKED(C, j)); \
        out[p] = sum; \
    } \
} \
static inline void NAME(outer_##C)(V *sums, const V *g, const V *z, int64_t count) { \
    V s[C]; \
    for (int j = 0; j < C; j++) s[j] = sums[j]; \
    for (int64_t p = 0; p < count; p++) { \
        V left = g[p], value = z[p]; \
        _Pragma("GCC unroll 8") for (int j = 0; j < C; j++) s[j] += left * __builtin_shuffle(value, PICKED(C, j)); \
    } \
    for (int j = 0; j < C; j++) sums[j] = s[j]; \
}
PACKED_PRODUCT(1)
PACKED_PRODUCT(2)
PACKED_PRODUCT(4)
PACKED_PRODUCT(8)

/* out[p] += M z[p] for one group of outputs and one of inputs, of which the first ones are in use. */
static inline void NAME(product_block)(V *out, const V *z, const V *matrix, int64_t count, int inputs) {
    int64_t p = 0;
    for (; p + 8 <= count; p += 8) {
        V s0 = out[p], s1 = out[p + 1], s2 = out[p + 2], s3 = out[p + 3];
        V s4 = out[p + 4], s5 = out[p + 5], s6 = out[p + 6], s7 = out[p + 7];
        const REAL *v = (const REAL *)(z + p);
        for (int j = 0; j < inputs; j++) {
            V m = matrix[j];
            s0 += m * v[j], s1 += m * v[16 + j], s2 += m * v[32 + j], s3 += m * v[48 + j];
            s4 += m * v[64 + j], s5 += m * v[80 + j], s6 += m * v[96 + j], s7 += m * v[112 + j];
        }
        out[p] = s0, out[p + 1] = s1, out[p + 2] = s2, out[p + 3] = s3;
        out[p + 4] = s4, out[p + 5] = s5, out[p + 6] = s6, out[p + 7] = s7;
    }
    for (; p < count; p++) {
        V sum = out[p];
        for (int j = 0; j < inputs; j++) sum += matrix[j] * ((const REAL *)(z + p))[j];
        out[p] = sum;
    }
}

/* sums[j] += g[p] * z[p][j] for one group of each. */
static inline void NAME(outer_block)(V *sums, const V *g, const V *z, int64_t count) {
    V s[16];
    for (int j = 0; j < 16; j++) s[j] = sums[j];
    for (int64_t p = 0; p < count; p++) {
        V left = g[p];
        const REAL *v = (const REAL *)(z + p);
        _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++) s[j] += left * v[j];
    }
    for (int j = 0; j < 16; j++) sums[j] = s[j];
}

/* out[group][pixel] += M z[group][pixel] of a cluster's tile; groups lie so many pixels apart. */
static inline void NAME(product)(const L *l, V *out, int64_t out_pitch, const V *z, int64_t pitch, const V *matrix,
                                 int64_t count) {
    switch (l->packed) {
        case 16: NAME(product_1)(out, z, matrix, count); return;
        case 8: NAME(product_2)(out, z, matrix, count); return;
        case 4: NAME(product_4)(out, z, matrix, count); return;
        case 2: NAME(product_8)(out, z, matrix, count); return;
    }
    for (int64_t i = 0; i < l->groups; i++)
        for (int64_t j = 0; j < l->groups; j++)
            NAME(product_block)(out + i * out_pitch, z + j * pitch, matrix + i * l->inputs + 16 * j, count,
                                l->channels - 16 * j < 16 ? (int)(l->channels - 16 * j) : 16);
}

/* sums[group][input] += the sum of g times z over the tile's pixels. */
static inline void NAME(outer)(const L *l, V *sums, const V *g, int64_t g_pitch, const V *z, int64_t pitch,
                               int64_t count) {
    switch (l->packed) {
        case 16: NAME(outer_1)(sums, g, z, count); return;
        case 8: NAME(outer_2)(sums, g, z, count); return;
        case 4: NAME(outer_4)(sums, g, z, count); return;
        case 2: NAME(outer_8)(sums, g, z, count); return;
    }
    for (int64_t i = 0; i < l->groups; i++)
        for (int64_t j = 0; j < l->groups; j++)
            NAME(outer_block)(sums + i * l->inputs + 16 * j, g + i * g_pitch, z + j * pitch, count);
}
