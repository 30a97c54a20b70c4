/* What the kernels are told of a fan: the mixed edges that leave one state of a cell.
 *
 * Sizes: N images, C channels of an edge, H x W pixels of the state and H' x W' of the edges' outputs, n edges,
 * m of them with an operation. Images lie pixel by pixel with all channels of a pixel beside each other.
 * Pointers are to `REAL`, float or double by the function that is called. nasbench/spaces/compiled.py mirrors
 * these structures.
 */
#ifndef FAN_H
#define FAN_H
#include <stdint.h>

typedef struct {
    int64_t kernel, dilation, repeats; /* k; 1 or 2; separable convolutions one after the other, 1 or 2 */
    const int64_t *rows;               /* [n]: row of each edge in the weights, -1 where it lacks the operation */
    const void *factors;               /* [n]: what each edge's output is multiplied with */
    const void *kernels[2];            /* [m, C, k*k] */
    const void *mixing[2];             /* [m, C, C], output before input */
    const void *running[2];            /* [2, m, C]: mean and variance to use, or null for those of the batch */
    void *z[2];                        /* outputs of the depthwise convolutions, in lanes */
    void *half[2];                     /* [m, C, C]: V Sigma */
    void *known[2];                    /* [4, m, C]: mean of z; 1 / sqrt(variance + eps); mean; variance */
    void *grad_kernels[2];             /* as kernels; null where the gradient of the weights is not wanted */
    void *grad_mixing[2];
    void *grad_factors;                /* [n] */
} Operation;

typedef struct {
    int64_t batch, channels, height, width, stride, edges, threads;
    int64_t num_operations, num_shared;
    double eps;
    const void *x;             /* [N, H, W, C], after the ReLU */
    Operation *operations;
    const void *const *shared; /* num_shared of [N, H', W', C], the same on all edges */
    const void *shares;        /* [num_shared, n]: their weights */
    void *const *outputs;      /* n of [N, H', W', C] */
    const void *const *grads;  /* n of [N, H', W', C], or null: of the outputs */
    void *grad_x;              /* [N, H, W, C], or null where it is not wanted */
    void *const *grad_shared;  /* num_shared of [N, H', W', C], each null where it is not wanted */
    void *grad_shares;         /* [num_shared, n] */
    void *hidden_grads;        /* scratch: for each operation of two convolutions as much as z */
} Fan;

#endif
