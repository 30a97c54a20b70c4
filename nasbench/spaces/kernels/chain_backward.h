/* The backward pass of a chain: one pass over the images for each state, from the last to the first. */

/* Whether a link leads to the last state. */
static inline int NAME(is_live_link)(const NET *net, int64_t e) {
    return net->chain->states[net->links[e].link->to].grads != 0;
}

/* One image's gradient of a link's z, in slabs with a border of zeros. */
static void NAME(grad_of_z)(const LINK *own, V *padded, const V *grads, const V *z) {
    const SIZE *s = &own->size;
    int64_t pitch = s->width + 2;
    memset(padded, 0, s->outputs * pitch * (s->height + 2) * sizeof(V));
    for (int64_t group = 0; group < s->outputs; group++) {
        V gain = own->gain[group], square = own->square[group], offset = own->offset[group], mean = own->mean[group];
        for (int64_t y = 0; y < s->height; y++) {
            int64_t at = (group * s->height + y) * s->width;
            V *to = padded + (group * (s->height + 2) + y + 1) * pitch + 1;
            if (own->link->norm)
                for (int64_t x = 0; x < s->width; x++) to[x] = gain * grads[at + x] + square * (z[at + x] - mean) + offset;
            else
                for (int64_t x = 0; x < s->width; x++) to[x] = gain * grads[at + x];
        }
    }
}

/* The gradient of a link's weights from one image, added to `parts`; `in` is what they read, with so wide a border. */
static void NAME(correlate_link)(const LINK *own, V *parts, const V *padded, const V *in, int64_t pitch, int64_t slab,
                                 int64_t border) {
    const SIZE *s = &own->size;
    int64_t own_pitch = s->width + 2, own_slab = own_pitch * (s->height + 2), corner = border - own->side / 2;
    int64_t step = own->link->kind == CONVOLUTION ? own->link->stride : 1;
    const V *grads = padded + own_pitch + 1;
    if (own->taps == 9 && step == 1) {
        NAME(correlate_3x3)(s, parts, grads, own_pitch, own_slab, in + corner * (pitch + 1), pitch, slab);
        return;
    }
    for (int64_t tap = 0; tap < own->taps; tap++)
        NAME(correlate_tap)(s, parts + 16 * tap * s->outputs * s->inputs, grads, own_pitch, own_slab,
                            in + (corner + tap / own->side) * pitch + corner + tap % own->side, pitch, slab, step);
}

/* What reaches a link's input, without a border, from one image's gradient of z with a border. */
static void NAME(convolve_back)(const LINK *own, V *out, const V *padded, int add) {
    const SIZE *s = &own->back;
    int64_t pitch = own->size.width + 2, slab = pitch * (own->size.height + 2), per = 16 * s->outputs * s->inputs;
    if (own->taps == 9 && own->link->stride == 1) {
        NAME(convolve_3x3)(s, out, s->width, s->height * s->width, padded, pitch, slab, own->mirrored, add);
        return;
    }
    if (own->taps == 1) {
        SIZE size = *s;
        TAPS taps = {1, {pitch + 1}, {own->mirrored}};
        size.height = own->size.height, size.width = own->size.width; /* a projection's are those of the averages */
        NAME(convolve_taps_1)(&size, out, size.width, 1, size.height * size.width, padded, pitch, slab, &taps, add);
        return;
    }
    for (int64_t odd_y = 0; odd_y < 2; odd_y++)
        for (int64_t odd_x = 0; odd_x < 2; odd_x++) { /* an even row was read by the middle tap alone, an odd one by both others */
            SIZE size = *s;
            TAPS taps = {0, {0}, {0}};
            size.height = (s->height + 1 - odd_y) / 2, size.width = (s->width + 1 - odd_x) / 2;
            for (int64_t i = !odd_y; i < 3; i += 2)
                for (int64_t j = !odd_x; j < 3; j += 2) {
                    taps.places[taps.count] = (1 + i / 2) * pitch + 1 + j / 2; /* mirrored: the first reads the earlier row */
                    taps.matrices[taps.count++] = own->mirrored + (3 * i + j) * per;
                }
            NAME(convolve_taps_1)(&size, out + odd_y * s->width + odd_x, 2 * s->width, 2, s->height * s->width, padded, pitch,
                                  slab, &taps, add);
        }
}

/* Gradients of a separable convolution's kernels and of what it read, from that of what its kernels gave (in slabs);
 * the latter is added to `grads`, or written over what is there. */
static void NAME(depthwise_back)(const NET *net, const LINK *own, V *parts, V *grads, const V *of_inner, const V *padded,
                                 V *room, int add) {
    const Link *link = own->link;
    const State *from = net->chain->states + link->from;
    int64_t margin = net->margin[link->from], border = NAME(border_of)(link), taps = link->kernel * link->kernel;
    int64_t pitch = from->width + 2 * margin, slab = pitch * (from->height + 2 * margin), skipped = (margin - border) * (pitch + 1);
    int64_t height = own->size.height, width = own->size.width, pixels = height * width;
    for (int64_t group = 0; group < own->size.inputs; group++) {
        const V *of = of_inner + group * pixels;
        V *to = grads + group * from->height * from->width;
        if (link->grad_depthwise)
            NAME(correlate)(parts + group * taps, of, width, padded + skipped + group * slab, pitch, height, width,
                            (int)link->kernel, (int)link->stride, (int)link->dilation);
        if (!grads) continue;
        int64_t wide = (link->stride == 1 ? width : from->width) + 2 * border;
        memset(room, 0, wide * ((link->stride == 1 ? height : from->height) + 2 * border) * sizeof(V));
        if (link->stride == 1) {
            for (int64_t y = 0; y < height; y++)
                memcpy(room + (y + border) * wide + border, of + y * width, width * sizeof(V));
            NAME(convolve)(to, width, room, wide, own->turned + group * taps, height, width, (int)link->kernel, 1,
                           (int)link->dilation, add);
            continue;
        }
        NAME(transpose)(room, wide, of, width, own->depthwise + group * taps, height, width, (int)link->kernel,
                        (int)link->stride, (int)link->dilation);
        for (int64_t y = 0; y < from->height; y++, to += from->width) {
            const V *row = room + (y + border) * wide + border;
            if (add)
                for (int64_t x = 0; x < from->width; x++) to[x] += row[x];
            else
                memcpy(to, row, from->width * sizeof(V));
        }
    }
}

/* Gradients of averages over 2x2 pixels, added to those of what they were taken of. */
static void NAME(add_halved)(const State *from, const State *to, V *grads, const V *of_halves) {
    for (int64_t group = 0; group < NAME(groups_of)(from); group++)
        for (int64_t y = 0; y < from->height; y++) {
            V *row = grads + (group * from->height + y) * from->width;
            const V *own = of_halves + (group * to->height + y / 2) * to->width;
            for (int64_t x = 0; x < from->width; x++)
                row[x] += own[x / 2] / (NAME(two)(y / 2, from->height) * NAME(two)(x / 2, from->width));
        }
}

/* What reaches a state from a link without weights, added to its gradients; returns the gradient of the factor. */
static V NAME(add_share)(const NET *net, const LINK *own, V *grads, const V *of_output, const V *state, V *room) {
    const State *from = net->chain->states + own->link->from;
    int64_t height = from->height, width = from->width;
    V total = {0}, factor = own->factor, *rows = room + width + 2;
    for (int64_t group = 0; group < NAME(groups_of)(from); group++)
        for (int64_t y = 0; y < height; y++) {
            int64_t at = (group * height + y) * width;
            const V *row = of_output + at;
            V sums[2] = {{0}};
            if (own->link->kind == MEAN_3X3) {
                NAME(mean_row_back)(rows, room, of_output + group * height * width, y, height, width);
                row = rows;
            }
            for (int64_t x = 0; x < width; x++) {
                grads[at + x] += factor * row[x];
                sums[x % 2] += row[x] * state[at + x];
            }
            total += sums[0] + sums[1];
        }
    return total;
}

/* The sum of so many vectors. */
static V NAME(sum_of)(const V *values, int64_t count) {
    V sums[4] = {{0}};
    for (int64_t i = 0; i < count; i++) sums[i % 4] += values[i];
    return sums[0] + sums[1] + sums[2] + sums[3];
}

/* Sums [groups] of g and [groups] of g (z - mean) over one image. */
static void NAME(products_with_z)(const LINK *own, V *parts, const V *grads, const V *z) {
    int64_t pixels = own->size.height * own->size.width, groups = own->size.outputs;
    for (int64_t group = 0; group < groups; group++, grads += pixels, z += pixels) {
        V sums[4] = {{0}}, products[4] = {{0}}, mean = own->mean[group];
        for (int64_t i = 0; i < pixels; i++) {
            sums[i % 4] += grads[i];
            products[i % 4] += grads[i] * (z[i] - mean);
        }
        parts[group] = sums[0] + sums[1] + sums[2] + sums[3];
        parts[groups + group] = products[0] + products[1] + products[2] + products[3];
    }
}

/* One image's gradient of a state, and what it adds to those of weights and factors of the links that leave it. */
static void NAME(grads_of_state)(const NET *net, int64_t s, int64_t n, V *grads, const V *values, V *chunk, V *padded,
                                 V *hidden, V *bordered, V *room) {
    const State *state = net->chain->states + s;
    int64_t margin = net->margin[s], pitch = state->width + 2 * margin, slab = pitch * (state->height + 2 * margin);
    int wanted = s > 0 || net->chain->grad_x, rectified = NAME(is_rectified)(net, s), written = 0;
    if (rectified) NAME(rectify)(state, padded, values, margin);
    for (int64_t e = net->leaving[s]; e < net->leaving[s + 1]; e++) {
        const LINK *own = net->links + e;
        int separable = own->link->kind == SEPARABLE;
        if ((own->link->kind != CONVOLUTION && !separable) || !NAME(is_live_link)(net, e)) continue;
        NAME(grad_of_z)(own, hidden, NAME(grads_of)(net, own->link->to, n), NAME(link_z)(net, own, n));
        if (separable) {
            int64_t width = own->size.width, pixels = own->size.height * width;
            V *kernels = chunk + own->chunk + 16 * own->size.outputs * own->size.inputs;
            if (own->link->grad_weight)
                NAME(correlate_link)(own, chunk + own->chunk, hidden, NAME(inner_of)(own, n), width, pixels, 0);
            if (!wanted && !own->link->grad_depthwise) continue;
            NAME(convolve_back)(own, room, hidden, 0);
            NAME(depthwise_back)(net, own, kernels, wanted ? grads : 0, room, padded, bordered, written);
            written = wanted;
            continue;
        }
        if (own->link->grad_weight) NAME(correlate_link)(own, chunk + own->chunk, hidden, padded, pitch, slab, margin);
        if (wanted) NAME(convolve_back)(own, grads, hidden, written), written = 1;
    }
    if (!written && wanted) memset(grads, 0, NAME(slab_of)(state) * sizeof(V));
    for (int64_t i = 0; i < NAME(slab_of)(state) && written; i++) grads[i] = NAME(positive)(grads[i], values[i]);
    for (int64_t e = net->leaving[s]; e < net->leaving[s + 1]; e++) {
        const LINK *own = net->links + e;
        if (own->link->kind == CONVOLUTION || own->link->kind == SEPARABLE || own->link->kind == ONE || !NAME(is_live_link)(net, e)) continue;
        const State *to = net->chain->states + own->link->to;
        const V *of_output = NAME(grads_of)(net, own->link->to, n);
        if (!own->taps) {
            net->shares[n * net->chain->num_links + e] = NAME(add_share)(net, own, grads, of_output, values, room);
            continue;
        }
        NAME(grad_of_z)(own, hidden, of_output, NAME(link_z)(net, own, n));
        NAME(halve)(state, to, room, values);
        if (own->link->grad_weight)
            NAME(correlate_link)(own, chunk + own->chunk, hidden, room, to->width, to->height * to->width, 0);
        if (!wanted) continue;
        NAME(convolve_back)(own, room, hidden, 0);
        NAME(add_halved)(state, to, grads, room);
    }
}

static void NAME(chain_backward)(const Chain *chain) {
    NET net = NAME(read_chain)(chain, 1);
    int64_t last = chain->num_states - 1, chunks = chain->batch < CHUNKS ? chain->batch : CHUNKS;
    V *weights = NAME(scratch)(PARTS_OF_KERNELS, chunks * net.chunk);
#pragma omp parallel num_threads((int)chain->threads)
    {
        V *padded = NAME(scratch)(PADDED, net.padded), *hidden = NAME(scratch)(HIDDEN, net.padded);
        V *bordered = NAME(scratch)(GRAD_X, net.padded);
        V *slabs = NAME(scratch)(SLAB, net.slab), *room = NAME(scratch)(RAW, 3 * net.slab + 2);
#pragma omp for schedule(dynamic)
        for (int64_t e = 0; e < chain->num_links; e++) {
            for (int64_t group = 0; group < net.links[e].size.inputs && net.links[e].taps; group++)
                NAME(spread_link)(net.links + e, group, 1);
            if (net.links[e].taps) NAME(remember_link)(net.links + e);
            if (net.links[e].link->kind == SEPARABLE) NAME(spread_depthwise)(net.links + e, 1);
        }
        if (chain->states[0].values != chain->x)
#pragma omp for schedule(static)
            for (int64_t n = 0; n < chain->batch; n++) {
                const State *state = chain->states;
                NAME(to_slabs)(state, NAME(state_of)(&net, 0, n),
                               (const REAL *)chain->x + n * state->height * state->width * state->channels);
            }
        for (int64_t s = last; s >= 0; s--) {
            const State *state = chain->states + s;
            if (s > 0 && !state->grads) continue;
            int64_t size = state->height * state->width * state->channels, first = net.leaving[s], end = net.leaving[s + 1];
#pragma omp for schedule(static)
            for (int64_t part = 0; part < chunks; part++) {
                V *chunk = weights + part * net.chunk;
                if (end > first)
                    memset(chunk, 0, (net.links[end - 1].chunk + NAME(chunk_of)(net.links + end - 1)) * sizeof(V));
                for (int64_t n = part * chain->batch / chunks; n < (part + 1) * chain->batch / chunks; n++) {
                    V *grads = s > 0 ? NAME(grads_of)(&net, s, n) : slabs;
                    if (s == last && state->grads != chain->grad_output)
                        NAME(to_slabs)(state, grads, (const REAL *)chain->grad_output + n * size);
                    if (s < last)
                        NAME(grads_of_state)(&net, s, n, grads, NAME(state_of)(&net, s, n), chunk, padded, hidden, bordered, room);
                    if (s == 0 && chain->grad_x) NAME(to_pixels)(state, (REAL *)chain->grad_x + n * size, grads);
                    for (int64_t i = net.arriving[s]; i < net.arriving[s + 1]; i++) {
                        LINK *own = net.links + net.order[i];
                        if (own->taps)
                            NAME(products_with_z)(own, own->parts + 2 * n * own->size.outputs, grads, NAME(link_z)(&net, own, n));
                        else if (own->link->kind == ONE)
                            net.shares[n * chain->num_links + net.order[i]] = NAME(sum_of)(grads, NAME(slab_of)(state));
                    }
                }
            }
            for (int64_t e = first; e < end; e++)
#pragma omp for schedule(dynamic) nowait
                for (int64_t group = 0; group < net.links[e].size.outputs; group++)
                    if (net.links[e].taps && net.links[e].link->grad_weight)
                        NAME(fold_link)(net.links + e, group, weights, chunks, net.chunk);
#pragma omp for schedule(dynamic) nowait
            for (int64_t e = first; e < end; e++)
                if (net.links[e].link->grad_depthwise) NAME(fold_depthwise)(net.links + e, weights, chunks, net.chunk);
#pragma omp for schedule(dynamic)
            for (int64_t i = net.arriving[s]; i < net.arriving[s + 1]; i++)
                if (net.links[net.order[i]].taps) NAME(know_link_gradients)(&net, net.links + net.order[i]);
        }
    }
    for (int64_t e = 0; e < chain->num_links; e++) {
        if (net.links[e].taps || !chain->links[e].grad_factor) continue;
        double sum = 0;
        for (int64_t n = 0; n < chain->batch; n++)
            for (int i = 0; i < 16; i++) sum += ((const REAL *)(net.shares + n * chain->num_links + e))[i];
        *(REAL *)chain->links[e].grad_factor = (REAL)sum;
    }
}
