/* The forward pass of a fan: three passes over the images, as many as its normalisations ask for. */

static void NAME(forward)(const Fan *fan) {
    PREPARED prepared[2 * MAX_OPERATIONS];
    PASS pass = NAME(begin)(fan, prepared);
    const L *l = &pass.l;
    int64_t per = l->groups * (1 + l->inputs), stride = fan->num_operations * l->clusters * per;
    int threads = (int)fan->threads, second = 0;
    V *parts = NAME(scratch)(PARTS, fan->batch * stride);
    for (int64_t o = 0; o < fan->num_operations; o++) second |= fan->operations[o].repeats == 2;

    for (int number = 0; number < 1 + second; number++) {
#pragma omp parallel num_threads(threads)
        {
            V *padded = NAME(scratch)(PADDED, l->groups * pass.padded), *slabs = NAME(scratch)(SLAB, l->groups * l->pixels);
            V *tile = NAME(scratch)(TILES, l->groups * TILE);
            memset(padded, 0, l->groups * pass.padded * sizeof(V));
#pragma omp for schedule(static)
            for (int64_t n = 0; n < fan->batch; n++) {
                if (!number) NAME(pad_input)(&pass, padded, n);
                for (int64_t o = 0; o < fan->num_operations; o++) {
                    if (fan->operations[o].repeats <= number) continue;
                    PREPARED *p = NAME(prepared)(&pass, o, number);
                    for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                        if (!NAME(is_live)(l, cluster, p->rows)) continue;
                        V *z = NAME(z_of)(&pass, o, number, n, cluster);
                        if (number) {
                            NAME(normalise)(l, slabs, NAME(prepared)(&pass, o, 0), NAME(z_of)(&pass, o, 0, n, cluster),
                                            tile, cluster);
                            for (int64_t group = 0; group < l->groups; group++)
                                NAME(pad_slab)(&pass, padded + group * pass.padded, slabs + group * l->pixels, 1);
                        }
                        NAME(convolve_cluster)(&pass, p, z, padded, cluster);
                        if (!fan->operations[o].running[number])
                            NAME(moments)(l, parts + n * stride + (o * l->clusters + cluster) * per, z, tile);
                    }
                }
            }
#pragma omp for schedule(dynamic) collapse(2)
            for (int64_t o = 0; o < fan->num_operations; o++)
                for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                    PREPARED *p = NAME(prepared)(&pass, o, number);
                    if (fan->operations[o].repeats <= number || !NAME(is_live)(l, cluster, p->rows)) continue;
                    NAME(know)(fan, l, fan->operations + o, number, p, NAME(scale_of)(&pass, o, number), cluster,
                               parts + (o * l->clusters + cluster) * per, stride);
                }
        }
    }

#pragma omp parallel num_threads(threads)
    {
        V *tile = NAME(scratch)(TILES, 2 * l->groups * TILE), *sums = tile + l->groups * TILE;
        V *terms = NAME(scratch)(SHARED, TILE);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < fan->batch; n++)
            for (int64_t cluster = 0; cluster < l->clusters; cluster++)
                for (int64_t first = 0; first < l->pixels; first += TILE) {
                    int64_t count = l->pixels - first < TILE ? l->pixels - first : TILE;
                    memset(sums, 0, l->groups * TILE * sizeof(V));
                    for (int64_t o = 0; o < fan->num_operations; o++) {
                        int number = (int)fan->operations[o].repeats - 1;
                        PREPARED *p = NAME(prepared)(&pass, o, number);
                        if (!NAME(is_live)(l, cluster, p->rows)) continue;
                        NAME(centre)(l, tile, NAME(z_of)(&pass, o, number, n, cluster), p->mean + cluster * l->groups,
                                     first, count);
                        NAME(product)(l, sums, TILE, tile, TILE, p->matrix + cluster * l->groups * l->inputs, count);
                        for (int64_t group = 0; group < l->groups; group++)
                            for (int64_t i = 0; i < count; i++)
                                sums[group * TILE + i] += p->bias[cluster * l->groups + group];
                    }
                    for (int64_t group = 0; group < l->groups; group++) {
                        for (int64_t t = 0; t < fan->num_shared; t++) {
                            V share = NAME(of_edges)(l, (const REAL *)fan->shares + t * l->n, cluster);
                            NAME(spread)(l, terms, (const REAL *)fan->shared[t] + (n * l->pixels + first) * l->channels,
                                         count, group);
                            for (int64_t i = 0; i < count; i++) sums[group * TILE + i] += share * terms[i];
                        }
                        NAME(scatter)(l, (REAL *const *)fan->outputs, sums + group * TILE, n * l->pixels + first, count,
                                      cluster, group);
                    }
                }
    }
}
