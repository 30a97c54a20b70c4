/* What the kernels are told of a chain: states, and links from earlier ones to later ones.
 *
 * Sizes: N images; of a state C channels and H x W pixels; of a link's convolution C inputs and C' outputs. The first
 * state and the last lie pixel by pixel with all channels of a pixel beside each other, the others in slabs
 * [N][groups of 16 channels][H W][16]; lanes without a channel are not looked at. A state is the sum of the links that enter
 * it. Pointers are to `REAL`, float or double by the function that is called. nasbench/spaces/chain_call.py mirrors
 * these structures.
 */
#ifndef CHAIN_H
#define CHAIN_H
#include <stdint.h>

typedef struct {
    int64_t channels, height, width;
    void *values; /* in slabs; of the first state room for a copy, or x itself where it lies in slabs; null for the last */
    void *grads;  /* in slabs; null for the first and for states that do not lead to the last; some share memory */
} State;

/* The state; its average over 3x3 pixels of those there are; convolution of its ReLU, of 1x1 pixels at stride 1 or of
 * 3x3 pixels with a border of 1; convolution of its averages over 2x2 pixels, 1x1; 1 whatever the state; separable
 * convolution of its ReLU, k x k pixels with a border as wide as half of them, and then 1x1. */
enum { IDENTITY = 0, MEAN_3X3 = 1, CONVOLUTION = 2, PROJECTION = 3, ONE = 4, SEPARABLE = 5 };
/* Whether a BN follows: none, by the batch's statistics, by these while the running ones move, by the running ones. */
enum { NONE = 0, BATCH = 1, MOVING = 2, RUNNING = 3 };
typedef struct {
    int64_t from, to, kind;
    int64_t kernel, stride, dilation, norm;
    double momentum;     /* of the running statistics */
    const void *factor;  /* [1]: what it is multiplied with, or null for 1 */
    const void *depthwise; /* [C, k*k] of a separable convolution */
    const void *weight;  /* [C', C, k*k], or the pointwise one [C', C] of a separable convolution */
    const void *bias;    /* [C'], or null for 0; only before a BN */
    const void *gain;    /* [C']: scale of the BN, or null for 1 */
    const void *shift;   /* [C']: shift of the BN, or null for 0 */
    void *mean;          /* [C']: running mean, where it moves or is used */
    void *variance;      /* [C']: running variance, likewise */
    void *inner;         /* outputs of depthwise convolutions, in slabs */
    void *z;             /* the convolution's output without its bias, in slabs */
    void *known;         /* [4, C']: mean of z; 1 / sqrt(variance + eps); mean; variance */
    void *grad_factor;   /* each null where it is not wanted */
    void *grad_depthwise;
    void *grad_weight;
    void *grad_gain;
    void *grad_shift;
} Link;

typedef struct {
    int64_t batch, num_states, num_links, threads;
    double eps;
    const void *x;
    void *output;
    const void *grad_output;
    void *grad_x;  /* null where it is not wanted */
    State *states;
    Link *links;   /* in the order of the states that they leave */
} Chain;

#endif
