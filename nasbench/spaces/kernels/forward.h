/* The forward pass of a fan: three passes over the images, as many as its normalisations ask for. */

static void NAME(forward)(const Fan *fan) {
    PREPARED prepared[2 * MAX_OPERATIONS];
    PREPARED_TERM prepared_terms[MAX_TERMS];
    PASS pass = NAME(begin)(fan, prepared, prepared_terms);
    const L *l = &pass.l;
    int64_t per = l->groups * (1 + l->inputs), stride = fan->num_operations * l->clusters * per;
    int threads = (int)fan->threads, second = 0;
    int64_t of_terms = 2 * l->groups * fan->num_terms, whole = l->groups * fan->height * fan->width;
    V *parts = NAME(scratch)(PARTS, fan->batch * stride), *term_parts = NAME(scratch)(PARTS_OF_TERMS, fan->batch * of_terms);
    for (int64_t o = 0; o < fan->num_operations; o++) second |= fan->operations[o].repeats == 2;

#pragma omp parallel for num_threads(threads) schedule(dynamic) collapse(2)
    for (int64_t o = 0; o < fan->num_operations; o++)
        for (int64_t cluster = 0; cluster < l->clusters; cluster++)
            if (fan->operations[o].dense)
                NAME(spread_dense)(l, NAME(prepared)(&pass, o, 0), cluster, fan->operations[o].kernels[0], 0);

    for (int number = 0; number < 1 + second; number++) {
#pragma omp parallel num_threads(threads)
        {
            V *padded = NAME(scratch)(PADDED, l->groups * pass.padded), *slabs = NAME(scratch)(SLAB, l->groups * l->pixels);
            V *tile = NAME(scratch)(TILES, l->groups * TILE), *room = NAME(scratch)(RAW, whole);
            memset(padded, 0, l->groups * pass.padded * sizeof(V));
#pragma omp for schedule(static)
            for (int64_t n = 0; n < fan->batch; n++) {
                const V *raw = number ? room : NAME(read_input)(&pass, room, n);
                if (!number) NAME(pad_input)(&pass, padded, raw);
                for (int64_t t = 0; t < fan->num_terms && !number; t++) {
                    const Term *term = fan->terms + t;
                    V *z = NAME(term_z)(&pass, t, n);
                    if (term->kind == STATE) continue;
                    for (int64_t group = 0; group < l->groups; group++)
                        NAME(pool)(l, fan, term->kind, z + group * l->pixels, raw + group * fan->height * fan->width);
                    if (term->norm && !term->running)
                        NAME(squares)(l, term_parts + n * of_terms + 2 * t * l->groups, z);
                }
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
                        V *own = parts + n * stride + (o * l->clusters + cluster) * per;
                        if (fan->operations[o].running[number]) continue;
                        if (p->dense) NAME(squares)(l, own, z);
                        else NAME(moments)(l, own, z, tile);
                    }
                }
            }
#pragma omp for schedule(dynamic) nowait
            for (int64_t t = 0; t < fan->num_terms; t++)
                if (fan->terms[t].norm && !number)
                    NAME(know_term)(fan, l, fan->terms + t, pass.terms + t, term_parts + 2 * t * l->groups, of_terms);
#pragma omp for schedule(dynamic) collapse(2)
            for (int64_t o = 0; o < fan->num_operations; o++)
                for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                    PREPARED *p = NAME(prepared)(&pass, o, number);
                    if (fan->operations[o].repeats <= number || !NAME(is_live)(l, cluster, p->rows)) continue;
                    const REAL *scale = NAME(scale_of)(&pass, o, number);
                    const V *own = parts + (o * l->clusters + cluster) * per;
                    if (p->dense) NAME(know_dense)(fan, l, fan->operations + o, p, scale, cluster, own, stride);
                    else NAME(know)(fan, l, fan->operations + o, number, p, scale, cluster, own, stride);
                }
        }
    }

#pragma omp parallel num_threads(threads)
    {
        V *tile = NAME(scratch)(TILES, 2 * l->groups * TILE), *sums = tile + l->groups * TILE;
        V *room = NAME(scratch)(RAW, whole);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < fan->batch; n++) {
            const V *raw = room;
            for (int64_t t = 0; t < fan->num_terms; t++)
                if (fan->terms[t].kind == STATE) raw = NAME(read_input)(&pass, room, n);
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
                        if (!p->dense)
                            NAME(product)(l, sums, TILE, tile, TILE, p->matrix + cluster * l->groups * l->inputs, count);
                        for (int64_t group = 0; group < l->groups; group++) {
                            V bias = p->bias[cluster * l->groups + group], gain = p->gain[cluster * l->groups + group];
                            V *to = sums + group * TILE;
                            for (int64_t i = 0; i < count; i++) to[i] += bias;
                            for (int64_t i = 0; i < count && p->dense; i++) to[i] += gain * tile[group * TILE + i];
                        }
                    }
                    for (int64_t group = 0; group < l->groups; group++) {
                        V *to = sums + group * TILE;
                        for (int64_t t = 0; t < fan->num_terms; t++) {
                            const PREPARED_TERM *own = pass.terms + t;
                            V share = NAME(of_edges)(l, fan->terms[t].factors, cluster), gain = own->gain[group] * share;
                            V mean = own->mean[group];
                            const V *from = fan->terms[t].kind == STATE ? raw : NAME(term_z)(&pass, t, n);
                            for (int64_t i = 0; i < count; i++)
                                to[i] += gain * (from[group * l->pixels + first + i] - mean);
                        }
                        NAME(scatter)(l, (REAL *const *)fan->outputs, sums + group * TILE, n * l->pixels + first, count,
                                      cluster, group);
                    }
                }
        }
    }
}
