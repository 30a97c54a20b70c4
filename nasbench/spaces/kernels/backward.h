/* The backward pass of a fan. */

/* Sums of g and of g (z - mean) over one image of a cluster. */
static inline void NAME(add_products)(const L *l, const PREPARED *p, V *parts, const V *grads, const V *z,
                                      int64_t cluster, V *tile) {
    const V *mean = p->mean + cluster * l->groups;
    if (p->dense) {
        for (int64_t group = 0; group < l->groups; group++) {
            V sums[4] = {{0}}, products[4] = {{0}};
            const V *g = grads + group * l->pixels, *value = z + group * l->pixels;
            for (int64_t i = 0; i < l->pixels; i++) {
                sums[i % 4] += g[i];
                products[i % 4] += g[i] * (value[i] - mean[group]);
            }
            parts[group] = sums[0] + sums[1] + sums[2] + sums[3];
            parts[l->groups + group] = products[0] + products[1] + products[2] + products[3];
        }
        return;
    }
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

/* The gradients of a cluster's outputs in slabs; `room` is for a copy, where one is needed. */
static inline const V *NAME(gather_slabs)(const PASS *pass, V *room, int64_t n, int64_t cluster) {
    const L *l = &pass->l;
    const REAL *const *grads = (const REAL *const *)pass->fan->grads;
    if (NAME(is_in_lanes)(l, grads[cluster])) return (const V *)(grads[cluster] + n * l->pixels * l->channels);
    for (int64_t group = 0; group < l->groups; group++)
        NAME(gather)(l, room + group * l->pixels, grads, n * l->pixels, l->pixels, cluster, group);
    return room;
}

/* What reaches a term of one image from a cluster's edges, added to its slabs. */
static void NAME(share)(const PASS *pass, V *slabs, const V *grads, int64_t t, int64_t cluster) {
    const L *l = &pass->l;
    V share = NAME(of_edges)(l, pass->fan->terms[t].factors, cluster);
    for (int64_t i = 0; i < l->groups * l->pixels; i++) slabs[i] += share * grads[i];
}

/* Sums over a cluster's gradients times the term's value: of the term's factors, in lanes. */
static V NAME(of_factors)(const PASS *pass, const V *grads, const V *z, int64_t t) {
    const L *l = &pass->l;
    V total = {0};
    for (int64_t group = 0; group < l->groups; group++) {
        V sums[4] = {{0}}, mean = pass->terms[t].mean[group];
        const V *own = grads + group * l->pixels, *value = z + group * l->pixels;
        for (int64_t i = 0; i < l->pixels; i++) sums[i % 4] += own[i] * (value[i] - mean);
        total += pass->terms[t].gain[group] * (sums[0] + sums[1] + sums[2] + sums[3]);
    }
    return total;
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
            NAME(sum_images)(sums, parts + (o * l->clusters + cluster) * per, fan->batch, stride,
                             p->dense ? 2 * l->groups : per);
            const REAL *scale = NAME(scale_of)(pass, o, which);
            REAL *of_scale = scale ? own->grad_factors : 0;
            if (p->dense) NAME(know_dense_gradients)(fan, l, own, p, scale, cluster, sums, of_scale);
            else NAME(know_gradients)(fan, l, own, which, p, scale, cluster, sums, of_scale);
        }
}

/* What is known from the forward pass, in lanes again. */
static void NAME(remember)(const PASS *pass) {
    const L *l = &pass->l;
    int64_t c = l->channels, per = l->packed ? l->packed : 1;
    REAL *matrices = claim((int64_t)sizeof(REAL) * per * c * c);
    for (int64_t o = 0; o < pass->fan->num_operations; o++)
        for (int number = 0; number < pass->fan->operations[o].repeats; number++) {
            const Operation *own = pass->fan->operations + o;
            PREPARED *p = NAME(prepared)(pass, o, number);
            const REAL *scale = NAME(scale_of)(pass, o, number), *known = own->known[number];
            int64_t edge, channel;
            int again = number == 0 && own->repeats == 2; /* what follows it is computed again */
            for (int64_t at = 0; at < 16 * l->total && p->dense; at++)
                if (NAME(lane)(l, at / 16 / l->groups, at / 16 % l->groups, at % 16, &edge, &channel) && p->rows[edge] >= 0)
                    ((REAL *)p->mean)[at] = known[p->rows[edge] * c + channel];
            if (p->dense) continue;
            for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                memset(matrices, 0, sizeof(REAL) * per * c * c);
                for (int64_t edge = NAME(first_edge)(l, cluster); edge < NAME(last_edge)(l, cluster); edge++) {
                    int64_t row = p->rows[edge];
                    if (row < 0) continue;
                    const REAL *mixing = (const REAL *)own->mixing[number] + row * c * c;
                    for (int64_t i = 0; i < c; i++) {
                        REAL factor = known[(p->size + row) * c + i] * NAME(factor_of)(scale, edge);
                        REAL *to = matrices + (edge - NAME(first_edge)(l, cluster)) * c * c + i * c;
                        NAME(set_lane)(l, edge, i, p->mean + cluster * l->groups, known[row * c + i]);
                        for (int64_t j = 0; j < c && again; j++) to[j] = mixing[i * c + j] * factor;
                    }
                }
                if (again) NAME(to_lanes)(l, cluster, p->matrix + cluster * l->groups * l->inputs, matrices, 0);
            }
        }
    free(matrices);
    for (int64_t t = 0; t < pass->fan->num_terms; t++)
        for (int64_t i = 0; i < 16 * l->groups && pass->fan->terms[t].norm; i++) {
            const REAL *known = pass->fan->terms[t].known;
            int64_t channel = l->packed ? i % c : i;
            if (channel >= c) continue;
            pass->terms[t].mean[i / 16][i % 16] = known[channel];
            pass->terms[t].gain[i / 16][i % 16] = known[c + channel];
        }
}

static void NAME(backward)(const Fan *fan) {
    PREPARED prepared[2 * MAX_OPERATIONS];
    PREPARED_TERM prepared_terms[MAX_TERMS];
    PASS pass = NAME(begin)(fan, prepared, prepared_terms);
    const L *l = &pass.l;
    int64_t per = l->groups * (1 + l->inputs), stride = fan->num_operations * l->clusters * per, taps = 0, second = 0;
    int64_t of_operation[MAX_OPERATIONS], slabs_of[MAX_OPERATIONS], slab = l->groups * l->pixels;
    int deep = 0, weights = 0;
    for (int64_t o = 0; o < fan->num_operations; o++) {
        const Operation *own = fan->operations + o;
        of_operation[o] = taps, taps += own->repeats * l->total * NAME(prepared)(&pass, o, 0)->taps;
        slabs_of[o] = second, second += own->repeats == 2;
        weights |= own->grad_kernels[0] != 0;
        deep |= own->repeats == 2;
    }
    int onward = weights || fan->grad_x != 0;
    int64_t chunks = fan->batch < CHUNKS ? fan->batch : CHUNKS;
    V *parts = NAME(scratch)(PARTS, fan->batch * stride), *of_kernels = NAME(scratch)(PARTS_OF_KERNELS, chunks * taps);
    int64_t of_terms = 2 * l->groups * fan->num_terms, whole = l->groups * fan->height * fan->width;
    V *of_shares = NAME(scratch)(PARTS_OF_SHARES, fan->batch * l->clusters * fan->num_terms);
    V *term_parts = NAME(scratch)(PARTS_OF_TERMS, fan->batch * of_terms);
    NAME(remember)(&pass);

#pragma omp parallel num_threads((int)fan->threads)
    {
        V *padded = NAME(scratch)(PADDED, l->groups * pass.padded), *hidden = NAME(scratch)(HIDDEN, l->groups * pass.padded);
        V *slabs = NAME(scratch)(SLAB, slab), *others = NAME(scratch)(OTHER_SLAB, slab);
        V *grads_room = NAME(scratch)(GRADS, slab), *grad_x = NAME(scratch)(GRAD_X, l->groups * pass.padded);
        V *tile = NAME(scratch)(TILES, l->groups * TILE);
        V *terms = NAME(scratch)(TERM_SLABS, (fan->num_terms + 1) * slab);
        V *room = NAME(scratch)(RAW, whole), *raw_grad = NAME(scratch)(RAW_GRAD, whole);
        memset(padded, 0, l->groups * pass.padded * sizeof(V));
        memset(hidden, 0, l->groups * pass.padded * sizeof(V));

        /* from the outputs to the last convolutions and to what is shared */
#pragma omp for schedule(static)
        for (int64_t n = 0; n < fan->batch; n++) {
            memset(terms, 0, fan->num_terms * slab * sizeof(V));
            const V *raw = room;
            for (int64_t t = 0; t < fan->num_terms; t++)
                if (fan->terms[t].kind == STATE) raw = NAME(read_input)(&pass, room, n);
            for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                const V *grads = NAME(gather_slabs)(&pass, grads_room, n, cluster);
                for (int64_t t = 0; t < fan->num_terms; t++) {
                    const V *z = fan->terms[t].kind == STATE ? raw : NAME(term_z)(&pass, t, n);
                    of_shares[(n * l->clusters + cluster) * fan->num_terms + t] = NAME(of_factors)(&pass, grads, z, t);
                    if (fan->terms[t].norm && fan->grad_x) NAME(share)(&pass, terms + t * slab, grads, t, cluster);
                }
                for (int64_t o = 0; o < fan->num_operations; o++) {
                    int last = (int)fan->operations[o].repeats - 1;
                    PREPARED *p = NAME(prepared)(&pass, o, last);
                    V *own = parts + n * stride + (o * l->clusters + cluster) * per;
                    if (!NAME(is_live)(l, cluster, p->rows)) continue;
                    memset(own, 0, per * sizeof(V));
                    NAME(add_products)(l, p, own, grads, NAME(z_of)(&pass, o, last, n, cluster), cluster, tile);
                }
            }
            for (int64_t t = 0; t < fan->num_terms && fan->grad_x; t++) {
                V *own = term_parts + n * of_terms + 2 * t * l->groups;
                for (int64_t group = 0; group < l->groups && fan->terms[t].norm; group++) {
                    V sums[4] = {{0}}, products[4] = {{0}}, mean = pass.terms[t].mean[group];
                    const V *d = terms + t * slab + group * l->pixels, *z = NAME(term_z)(&pass, t, n) + group * l->pixels;
                    for (int64_t i = 0; i < l->pixels; i++) {
                        sums[i % 4] += d[i];
                        products[i % 4] += d[i] * (z[i] - mean);
                    }
                    own[group] = sums[0] + sums[1] + sums[2] + sums[3];
                    own[l->groups + group] = products[0] + products[1] + products[2] + products[3];
                }
            }
        }
#pragma omp for schedule(dynamic) nowait
        for (int64_t t = 0; t < fan->num_terms; t++)
            if (fan->terms[t].norm && fan->grad_x) {
                V *sums = NAME(scratch)(SUMS, 2 * l->groups);
                NAME(sum_images)((REAL *)sums, term_parts + 2 * t * l->groups, fan->batch, of_terms, 2 * l->groups);
                NAME(know_term_gradients)(fan, l, pass.terms + t, sums);
            }
        NAME(join_products)(&pass, 0, 1, parts, stride);

        if (weights)
#pragma omp for schedule(static)
            for (int64_t chunk = 0; chunk < chunks; chunk++) memset(of_kernels + chunk * taps, 0, taps * sizeof(V));
        if (fan->grad_x)
#pragma omp for schedule(dynamic) collapse(2)
            for (int64_t o = 0; o < fan->num_operations; o++)
                for (int64_t cluster = 0; cluster < l->clusters; cluster++)
                    if (fan->operations[o].dense)
                        NAME(spread_dense)(l, NAME(prepared)(&pass, o, 0), cluster, fan->operations[o].kernels[0], 1);

        /* through second convolutions to the ReLU before them */
        if (onward && deep) {
#pragma omp for schedule(static)
            for (int64_t chunk = 0; chunk < chunks; chunk++)
              for (int64_t n = chunk * fan->batch / chunks; n < (chunk + 1) * fan->batch / chunks; n++)
                for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                    const V *grads = NAME(gather_slabs)(&pass, grads_room, n, cluster);
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
                        NAME(add_products)(l, before, own, to, z, cluster, tile);
                        if (!weights) continue;
                        for (int64_t group = 0; group < l->groups; group++)
                            NAME(pad_slab)(&pass, hidden + group * pass.padded, others + group * l->pixels, 1);
                        NAME(correlate_cluster)(&pass, p, of_kernels + chunk * taps + of_operation[o] + (l->total + cluster * l->groups) * size,
                                                slabs, hidden);
                    }
                }
            NAME(join_products)(&pass, 0, 0, parts, stride);
        }

        /* through first convolutions to the input */
        if (onward) {
#pragma omp for schedule(static)
            for (int64_t chunk = 0; chunk < chunks; chunk++)
              for (int64_t n = chunk * fan->batch / chunks; n < (chunk + 1) * fan->batch / chunks; n++) {
                const V *raw = NAME(read_input)(&pass, room, n);
                NAME(pad_input)(&pass, padded, raw);
                memset(grad_x, 0, l->groups * pass.padded * sizeof(V));
                memset(raw_grad, 0, whole * sizeof(V));
                memset(terms, 0, fan->num_terms * slab * sizeof(V));
                for (int64_t cluster = 0; cluster < l->clusters; cluster++) {
                    const V *grads = NAME(gather_slabs)(&pass, grads_room, n, cluster);
                    for (int64_t t = 0; t < fan->num_terms && fan->grad_x; t++)
                        NAME(share)(&pass, fan->terms[t].kind == STATE ? raw_grad : terms + t * slab, grads, t, cluster);
                    for (int64_t o = 0; o < fan->num_operations; o++) {
                        PREPARED *p = NAME(prepared)(&pass, o, 0);
                        if (!NAME(is_live)(l, cluster, p->rows)) continue;
                        const V *from = grads;
                        int64_t size = p->kernel * p->kernel;
                        if (fan->operations[o].repeats == 2)
                            from = (V *)fan->hidden_grads + (slabs_of[o] * fan->batch * l->clusters + n * l->clusters + cluster) * slab;
                        NAME(back)(l, slabs, p, from, NAME(z_of)(&pass, o, 0, n, cluster), tile, cluster);
                        if (weights)
                            NAME(correlate_cluster)(&pass, p, of_kernels + chunk * taps + of_operation[o] + cluster * l->groups * p->taps,
                                                    slabs, padded);
                        for (int64_t group = 0; group < l->groups && fan->grad_x; group++) {
                            V *to = grad_x + group * pass.padded;
                            int64_t first = (cluster * l->groups + group) * size;
                            if (p->stride == 1)
                                NAME(pad_slab)(&pass, hidden + group * pass.padded, slabs + group * l->pixels, 0);
                            if (p->dense) continue;
                            if (p->stride == 1) {
                                NAME(convolve)(to + pass.margin * pass.pitch + pass.margin, pass.pitch,
                                               hidden + group * pass.padded + NAME(corner)(&pass, p), pass.pitch, p->mirrored + first,
                                               l->out_height, l->out_width, (int)p->kernel, 1, (int)p->dilation, 1);
                            } else {
                                NAME(transpose)(to + NAME(corner)(&pass, p), pass.pitch, slabs + group * l->pixels,
                                                l->out_width, p->kernels + first, l->out_height, l->out_width,
                                                (int)p->kernel, (int)p->stride, (int)p->dilation);
                            }
                        }
                        if (p->dense && fan->grad_x)
                            NAME(convolve_dense)(&pass, grad_x + pass.margin * pass.pitch + pass.margin, pass.pitch,
                                                 pass.padded, hidden, p->mirrored, p, cluster, 1);
                    }
                }
                for (int64_t t = 0; t < fan->num_terms && fan->grad_x; t++) {
                    const V *z = NAME(term_z)(&pass, t, n);
                    for (int64_t group = 0; group < l->groups && fan->terms[t].kind != STATE; group++) {
                        V *d = terms + t * slab + group * l->pixels, mean = pass.terms[t].mean[group];
                        V back = pass.terms[t].back[group], square = pass.terms[t].square[group];
                        const V *own = z + group * l->pixels;
                        int64_t at = group * fan->height * fan->width;
                        for (int64_t i = 0; i < l->pixels && fan->terms[t].norm; i++)
                            d[i] = back * d[i] + square * (own[i] - mean) + pass.terms[t].shift[group];
                        NAME(unpool)(l, fan, fan->terms[t].kind, raw_grad + at, d, own, raw + at);
                    }
                }
                for (int64_t group = 0; group < l->groups && fan->grad_x; group++) {
                    for (int64_t y = 0; y < fan->height; y++) {
                        int64_t at = group * pass.padded + (y + pass.margin) * pass.pitch + pass.margin;
                        V *to = raw_grad + (group * fan->height + y) * fan->width;
                        for (int64_t x = 0; x < fan->width; x++) to[x] += NAME(positive)(grad_x[at + x], padded[at + x]);
                    }
                    NAME(fold)(l, (REAL *)fan->grad_x + n * fan->height * fan->width * fan->channels,
                               raw_grad + group * fan->height * fan->width, fan->height * fan->width, group);
                }
            }
        }
    }

    if (weights)
#pragma omp parallel for num_threads((int)fan->threads) schedule(dynamic) collapse(2)
        for (int64_t o = 0; o < fan->num_operations; o++)
            for (int64_t cluster = 0; cluster < l->clusters; cluster++)
                for (int number = 0; number < fan->operations[o].repeats; number++) {
                    PREPARED *p = NAME(prepared)(&pass, o, number);
                    int64_t count = l->groups * p->taps;
                    REAL *sums = (REAL *)NAME(scratch)(SUMS, count), *grad = fan->operations[o].grad_kernels[number];
                    const V *own = of_kernels + of_operation[o] + (number * l->clusters + cluster) * count;
                    NAME(sum_images)(sums, own, chunks, taps, count);
                    if (p->dense) NAME(fold_dense)(l, p, cluster, grad, sums);
                    else NAME(fold_kernels)(l, p, cluster, grad, sums);
                }
    for (int64_t t = 0; t < fan->num_terms; t++)
        for (int64_t cluster = 0; cluster < l->clusters; cluster++)
            for (int64_t edge = NAME(first_edge)(l, cluster); edge < NAME(last_edge)(l, cluster); edge++) {
                double sum = 0;
                int64_t first = l->packed ? edge % l->packed * l->channels : 0, width = l->packed ? l->channels : 16;
                for (int64_t n = 0; n < fan->batch; n++)
                    for (int64_t i = 0; i < width; i++)
                        sum += ((REAL *)(of_shares + (n * l->clusters + cluster) * fan->num_terms + t))[first + i];
                ((REAL *)fan->terms[t].grad_factors)[edge] = (REAL)sum;
            }
}
