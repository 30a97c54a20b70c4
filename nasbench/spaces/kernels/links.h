/* The links of a chain in lanes, and what lies between the passes over the images. */

/* What the passes need of a link. */
typedef struct {
    const Link *link;
    SIZE size, back;           /* of its convolution, and of what leads back through it */
    int64_t taps, side;        /* of its convolution from groups to groups: pixels in all and in a row */
    V *depthwise, *turned;     /* [groups in][k*k] of a separable convolution; mirrored */
    V *kernels, *mirrored;     /* [taps][groups out][inputs]; for the way back [taps][groups in][outputs] */
    V *mean, *gain, *bias;     /* [groups out]: output = gain (z - mean) + bias, its factor included */
    V *square, *offset;        /* [groups out]: grad of z = gain g + square (z - mean) + offset */
    V *parts;                  /* [N][2][groups out]: what each image leaves */
    int64_t chunk;             /* where its part of the gradients of weights is in that of its state's links */
    V factor;
} NAME(InLanes);
#define LINK NAME(InLanes)

typedef struct {
    const Chain *chain;
    LINK *links;
    int64_t *leaving;          /* [states + 1]: first link that leaves a state */
    int64_t *arriving, *order; /* [states + 1]: first of the links that enter it, in `order` */
    int64_t *margin;           /* of each state: pixels of the border that its convolutions look at */
    int64_t slab, padded;      /* vectors of the largest image, without and with a border */
    int64_t chunk;             /* vectors of weights of all links that leave one state, at most */
    V *shares;                 /* [N][links]: gradients of factors */
} NAME(Net);
#define NET NAME(Net)

static inline int64_t NAME(groups_of)(const State *s) { return (s->channels + 15) / 16; }
static inline int64_t NAME(slab_of)(const State *s) { return NAME(groups_of)(s) * s->height * s->width; }
static inline int NAME(is_convolved)(const Link *link) {
    return link->kind == CONVOLUTION || link->kind == PROJECTION || link->kind == SEPARABLE;
}
static inline int64_t NAME(border_of)(const Link *link) {
    return link->kind == SEPARABLE ? link->dilation * (link->kernel / 2) : 1;
}
static inline int64_t NAME(with_border)(int64_t groups, int64_t height, int64_t width, int64_t border) {
    return groups * (height + 2 * border) * (width + 2 * border);
}
static inline int64_t NAME(most)(int64_t a, int64_t b) { return a > b ? a : b; }

/* Image n of a state, in slabs, or of its gradient. */
static inline V *NAME(state_of)(const NET *net, int64_t s, int64_t n) {
    const State *state = net->chain->states + s;
    return (V *)state->values + n * NAME(slab_of)(state);
}
static inline V *NAME(grads_of)(const NET *net, int64_t s, int64_t n) {
    const State *state = net->chain->states + s;
    return (V *)state->grads + n * NAME(slab_of)(state);
}
static inline V *NAME(link_z)(const NET *net, const LINK *own, int64_t n) {
    return (V *)own->link->z + n * NAME(slab_of)(net->chain->states + own->link->to);
}

static inline V *NAME(inner_of)(const LINK *own, int64_t n) {
    return (V *)own->link->inner + n * own->size.inputs * own->size.height * own->size.width;
}

/* Vectors of a link's weights. */
static inline int64_t NAME(chunk_of)(const LINK *own) {
    int64_t kernels = own->link->kind == SEPARABLE ? own->link->kernel * own->link->kernel : 0;
    return own->size.inputs * (16 * own->size.outputs * own->taps + kernels);
}

/* Lay everything out; all lanes are 0 until they are known. Memory is kept from call to call. */
static NET NAME(read_chain)(const Chain *chain, int backward) {
    NET net = {chain, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    int64_t states = chain->num_states, links = chain->num_links, total = links * chain->batch;
    net.links = scratch_bytes(LINKS_IN_LANES, links * (int64_t)sizeof(LINK) + 64);
    net.leaving = scratch_bytes(PLACES_OF_LINKS, (3 * (states + 1) + links) * (int64_t)sizeof(int64_t));
    net.arriving = net.leaving + states + 1, net.margin = net.arriving + states + 1;
    net.order = net.margin + states + 1;
    int64_t found = 0;
    for (int64_t s = 0; s <= states; s++) {
        net.leaving[s] = net.arriving[s] = 0;
        while (net.leaving[s] < links && chain->links[net.leaving[s]].from < s) net.leaving[s]++;
        net.arriving[s] = found;
        for (int64_t e = 0; e < links && s < states; e++)
            if (chain->links[e].to == s) net.order[found++] = e;
    }
    for (int64_t s = 0; s < states; s++) {
        const State *own = chain->states + s;
        int64_t chunk = 0;
        net.margin[s] = 1;
        net.slab = NAME(most)(net.slab, NAME(slab_of)(own));
        for (int64_t e = net.leaving[s]; e < net.leaving[s + 1]; e++) {
            const Link *link = chain->links + e;
            const State *to = chain->states + link->to;
            LINK *lanes = net.links + e;
            int64_t outputs = NAME(groups_of)(to), inputs = NAME(groups_of)(own);
            memset(lanes, 0, sizeof(LINK));
            lanes->link = link;
            if (NAME(is_convolved)(link)) lanes->side = link->kind == SEPARABLE ? 1 : link->kernel;
            lanes->taps = lanes->side * lanes->side;
            lanes->size = (SIZE){outputs, inputs, own->channels, to->height, to->width};
            lanes->back = (SIZE){inputs, outputs, to->channels, own->height, own->width};
            lanes->factor = ALL((link->factor ? *(const REAL *)link->factor : (REAL)1));
            lanes->chunk = chunk, chunk += NAME(chunk_of)(lanes);
            total += 2 * NAME(chunk_of)(lanes) + outputs * (5 + 2 * chain->batch);
            if (!lanes->taps) continue;
            net.margin[s] = NAME(most)(net.margin[s], NAME(border_of)(link));
            net.padded = NAME(most)(net.padded, NAME(with_border)(outputs, to->height, to->width, 1));
            net.padded = NAME(most)(net.padded, NAME(with_border)(inputs, to->height, to->width, NAME(border_of)(link)));
        }
        net.chunk = NAME(most)(net.chunk, chunk);
        net.padded = NAME(most)(net.padded, NAME(with_border)(NAME(groups_of)(own), own->height, own->width, net.margin[s]));
    }
    V *next = NAME(scratch)(PREPARED_LANES, total);
    net.shares = next, next += links * chain->batch;
    for (int64_t e = 0; e < links; e++) {
        LINK *own = net.links + e;
        int64_t outputs = own->size.outputs, matrices = 16 * outputs * own->size.inputs * own->taps;
        int64_t kernels = NAME(chunk_of)(own) - matrices;
        if (!own->taps) continue;
        own->kernels = next, next += matrices;
        own->mirrored = next, next += backward ? matrices : 0;
        own->depthwise = next, next += kernels;
        own->turned = next, next += backward ? kernels : 0;
        own->mean = next, own->gain = next + outputs, own->bias = next + 2 * outputs, own->square = next + 3 * outputs;
        own->offset = next + 4 * outputs, own->parts = next + 5 * outputs;
        memset(next, 0, 5 * outputs * sizeof(V));
        for (int64_t i = 0; i < outputs && !own->link->norm; i++) own->gain[i] = own->factor;
        next += outputs * (5 + 2 * chain->batch);
    }
    return net;
}

/* A link's weights in lanes, of one group of outputs; with `mirrored` of inputs, the other way round. */
static void NAME(spread_link)(const LINK *own, int64_t group, int mirrored) {
    const SIZE *s = mirrored ? &own->back : &own->size;
    int64_t to = mirrored ? own->size.channels : own->back.channels, taps = own->taps, row = s->channels;
    const REAL *weight = own->link->weight;
    for (int64_t tap = 0; tap < taps; tap++) {
        REAL *lanes = (REAL *)((mirrored ? own->mirrored : own->kernels) + 16 * (tap * s->outputs + group) * s->inputs);
        memset(lanes, 0, 16 * s->inputs * sizeof(V));
        int64_t read = mirrored ? taps - 1 - tap : tap, width = to - 16 * group < 16 ? to - 16 * group : 16;
        for (int64_t j = 0; j < row; j++)
            for (int64_t i = 0; i < width; i++) {
                int64_t output = mirrored ? j : 16 * group + i, input = mirrored ? 16 * group + i : j;
                lanes[16 * j + i] = weight[(output * own->size.channels + input) * taps + read];
            }
    }
}

/* Its depthwise kernels, and mirrored. */
static void NAME(spread_depthwise)(const LINK *own, int backward) {
    int64_t taps = own->link->kernel * own->link->kernel;
    for (int64_t group = 0; group < own->size.inputs; group++)
        for (int64_t tap = 0; tap < taps; tap++) {
            V value = {0};
            for (int64_t i = 0; i < 16 && 16 * group + i < own->size.channels; i++)
                value[i] = ((const REAL *)own->link->depthwise)[(16 * group + i) * taps + tap];
            own->depthwise[group * taps + tap] = value;
            if (backward) own->turned[group * taps + taps - 1 - tap] = value;
        }
}

/* The gradient of its depthwise kernels from the chunks of images. */
static void NAME(fold_depthwise)(const LINK *own, const V *chunks, int64_t count, int64_t stride) {
    int64_t taps = own->link->kernel * own->link->kernel, first = 16 * own->size.outputs * own->size.inputs;
    for (int64_t group = 0; group < own->size.inputs; group++)
        for (int64_t tap = 0; tap < taps; tap++)
            for (int64_t i = 0; i < 16 && 16 * group + i < own->size.channels; i++) {
                double sum = 0;
                for (int64_t chunk = 0; chunk < count; chunk++)
                    sum += ((const REAL *)(chunks + own->chunk + chunk * stride + first + group * taps + tap))[i];
                ((REAL *)own->link->grad_depthwise)[(16 * group + i) * taps + tap] = (REAL)sum;
            }
}

/* The gradient of a link's weights for one group of outputs, from the chunks of images. */
static void NAME(fold_link)(const LINK *own, int64_t group, const V *chunks, int64_t count, int64_t stride) {
    const SIZE *s = &own->size;
    int64_t width = own->back.channels - 16 * group < 16 ? own->back.channels - 16 * group : 16;
    REAL *grad = own->link->grad_weight;
    for (int64_t tap = 0; tap < own->taps; tap++)
        for (int64_t j = 0; j < s->channels; j++) {
            const REAL *first = (const REAL *)(chunks + own->chunk + 16 * (tap * s->outputs + group) * s->inputs + j);
            double sums[16] = {0};
            for (int64_t chunk = 0; chunk < count; chunk++)
                for (int i = 0; i < 16; i++) sums[i] += first[16 * chunk * stride + i];
            for (int64_t i = 0; i < width; i++) grad[((16 * group + i) * s->channels + j) * own->taps + tap] = (REAL)sums[i];
        }
}

/* Statistics of a link's BN from what the images left, [groups] means and [groups] squares about them each. */
static void NAME(know_link)(const NET *net, LINK *own) {
    const Link *link = own->link;
    int64_t c = own->back.channels, groups = own->size.outputs, batch = net->chain->batch;
    double pixels = (double)(own->size.height * own->size.width);
    const REAL *bias = link->bias, *gains = link->gain, *shifts = link->shift;
    REAL *known = link->known, *means = link->mean, *variances = link->variance;
    int running = link->norm == RUNNING;
    for (int64_t group = 0; group < groups; group++) {
        double mean[16] = {0}, squares[16] = {0};
        for (int64_t n = 0; n < batch && !running; n++)
            for (int i = 0; i < 16; i++) mean[i] += ((const REAL *)(own->parts + 2 * n * groups + group))[i];
        for (int i = 0; i < 16; i++) mean[i] /= (double)batch;
        for (int64_t n = 0; n < batch && !running; n++)
            for (int i = 0; i < 16; i++) {
                double away = ((const REAL *)(own->parts + 2 * n * groups + group))[i] - mean[i];
                squares[i] += ((const REAL *)(own->parts + (2 * n + 1) * groups + group))[i] + pixels * away * away;
            }
        for (int64_t i = 0; i < 16 && 16 * group + i < c; i++) {
            int64_t at = 16 * group + i;
            REAL offset = bias ? bias[at] : 0, middle = (REAL)mean[i] + offset;
            REAL variance = (REAL)(squares[i] / (pixels * (double)batch));
            if (running) middle = means[at], variance = variances[at];
            if (link->norm == MOVING) {
                double count = pixels * (double)batch, unbiased = variance * (count / (count - 1));
                means[at] += (REAL)(link->momentum * ((double)middle - means[at]));
                variances[at] += (REAL)(link->momentum * (unbiased - variances[at]));
            }
            REAL inverse = (REAL)1 / (REAL)sqrt((double)variance + net->chain->eps);
            REAL gain = inverse * (gains ? gains[at] : (REAL)1) * own->factor[0];
            known[at] = (REAL)mean[i], known[c + at] = inverse, known[2 * c + at] = middle, known[3 * c + at] = variance;
            own->mean[group][i] = (REAL)mean[i], own->gain[group][i] = gain;
            own->bias[group][i] = (shifts ? shifts[at] * own->factor[0] : (REAL)0) + (running ? (offset - middle) * gain : (REAL)0);
        }
    }
}

/* What is known from the forward pass, in lanes again. */
static void NAME(remember_link)(LINK *own) {
    const REAL *known = own->link->known;
    for (int64_t at = 0; at < own->back.channels && own->link->norm; at++) own->mean[at / 16][at % 16] = known[at];
}

/* Gradients of a link's factor, scale and shift, and what the gradient of z is made with, from what the images left:
 * [groups] sums of g and [groups] of g (z - mean) each. */
static void NAME(know_link_gradients)(const NET *net, LINK *own) {
    const Link *link = own->link;
    int64_t c = own->back.channels, groups = own->size.outputs;
    double of_factor = 0, count = (double)(net->chain->batch * own->size.height * own->size.width);
    const REAL *inverses = (const REAL *)link->known + c, *gains = link->gain, *shifts = link->shift;
    for (int64_t group = 0; group < groups; group++) {
        double sums[16] = {0}, products[16] = {0};
        for (int64_t n = 0; n < net->chain->batch; n++)
            for (int i = 0; i < 16; i++) {
                sums[i] += ((const REAL *)(own->parts + 2 * n * groups + group))[i];
                products[i] += ((const REAL *)(own->parts + (2 * n + 1) * groups + group))[i];
            }
        for (int64_t i = 0; i < 16 && 16 * group + i < c; i++) {
            int64_t at = 16 * group + i;
            if (!link->norm) {
                of_factor += products[i];
                continue;
            }
            double inverse = inverses[at], scale = gains ? gains[at] : 1, gain = inverse * scale * own->factor[0];
            own->gain[group][i] = (REAL)gain;
            own->square[group][i] = (REAL)(-products[i] * gain * inverse * inverse / count);
            own->offset[group][i] = (REAL)(-gain * sums[i] / count);
            of_factor += products[i] * inverse * scale + (shifts ? shifts[at] * sums[i] : 0);
            if (link->grad_gain) ((REAL *)link->grad_gain)[at] = (REAL)(products[i] * inverse * own->factor[0]);
            if (link->grad_shift) ((REAL *)link->grad_shift)[at] = (REAL)(sums[i] * own->factor[0]);
        }
    }
    if (link->grad_factor) *(REAL *)link->grad_factor = (REAL)of_factor;
}
