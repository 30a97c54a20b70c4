/* What the kernels are told of a fan: the mixed edges that leave one state of a cell.
 *
 * Sizes: N images, C channels of an edge, H x W pixels of the state and H' x W' of the edges' outputs, n edges,
 * m of them with an operation. Images lie pixel by pixel with all channels of a pixel beside each other.
 * Pointers are to `REAL`, float or double by the function that is called. nasbench/spaces/kernel_library.py mirrors
 * these structures.
 */
#ifndef FAN_H
#define FAN_H
#include <stdint.h>

/* Separable convolutions, or (`dense`, at stride 1) one ordinary convolution; each followed by a BN. */
typedef struct {
    int64_t kernel, dilation, repeats; /* k; 1 or 2; convolutions one after the other, 1 or 2 */
    int64_t dense;
    const int64_t *rows;               /* [n]: row of each edge in the weights, -1 where it lacks the operation */
    const void *factors;               /* [n]: what each edge's output is multiplied with */
    const void *kernels[2];            /* depthwise weights [m, C, k*k]; dense: [m, C, C, k*k], output before input */
    const void *mixing[2];             /* pointwise weights [m, C, C], output before input; dense: bias [m, C] */
    const void *running[2];            /* [2, m, C]: mean and variance to use, or null for those of the batch */
    void *z[2];                        /* outputs of the convolutions with kernels, in lanes */
    void *half[2];                     /* [m, C, C]: V Sigma; dense: nothing */
    void *known[2];                    /* [4, m, C]: mean of z; 1 / sqrt(variance + eps); mean; variance */
    void *grad_kernels[2];             /* as kernels; null where the gradient of the weights is not wanted */
    void *grad_mixing[2];
    void *grad_factors;                /* [n] */
} Operation;

/* What is the same on all edges: the state itself (at stride 1), or a pool of 3x3 with or without a BN. */
enum { STATE = 0, AVERAGE = 1, MAXIMUM = 2 };
typedef struct {
    int64_t kind, norm;
    const void *factors; /* [n]: what it is multiplied with on each edge */
    const void *running; /* [2, C]: mean and variance to use, or null for those of the batch */
    void *z;             /* the pool's output, in lanes of the input */
    void *known;         /* [4, C]: as of an operation */
    void *grad_factors;  /* [n] */
} Term;

typedef struct {
    int64_t batch, channels, height, width, stride, edges, threads;
    int64_t num_operations, num_terms;
    double eps;
    const void *x;            /* [N, H, W, C], before the ReLU that all operations begin with */
    Operation *operations;
    Term *terms;
    void *const *outputs;     /* n of [N, H', W', C] */
    const void *const *grads; /* n of [N, H', W', C], or null: of the outputs */
    void *grad_x;             /* [N, H, W, C], or null where it is not wanted */
    void *hidden_grads;       /* scratch: for each operation of two convolutions as much as z */
} Fan;

#endif
