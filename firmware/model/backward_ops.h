/* backward_ops.h: the float operations of training, one order each.
 * Contract: docs/arithmetic.md, section 8. Python twin: golden/backward_ops.py. Pure, as ops.h. */
#ifndef BACKWARD_OPS_H
#define BACKWARD_OPS_H

#include <stdint.h>

/* out (n) += a[k] * b[k], k ascending from 0 below count; a[k] stands at a + k * a_stride, b[k] (n) at
 * b + k * b_stride. Transposed products, gradients of matrices and weighted sums of vectors are all of this kind. */
void sum_scaled(float *out, uint32_t n, const float *a, uint32_t a_stride, const float *b, uint32_t b_stride,
                uint32_t count);

/* Natural logarithm of x, which is 1 or more; NaN stays NaN. Error: docs/arithmetic.md. */
float log_f32(float x);

/* d (n) in place: from the gradient of rmsnorm(x, weight) to that of x. Adds to gain (n), weight's gradient. */
void rmsnorm_backward(float *d, const float *x, const float *weight, float *gain, uint32_t n);

/* Rotates the adjacent pairs of every head of d (heads, head_size) back, in place. */
void rope_backward(float *d, const float *cos, const float *sin, uint32_t heads, uint32_t head_size);

/* gate and up (n) in place: from values to gradients, d (n) being the gradient of silu(gate) * up. */
void swiglu_backward(float *gate, float *up, const float *d, uint32_t n);

/* d (n) in place: from the gradient of the probabilities p to that of the scores, times scale. */
void softmax_backward(float *d, const float *p, float scale, uint32_t n);

/* logits (n) in place: the gradient of their cross-entropy times scale. Returns the cross-entropy. */
float cross_entropy(float *logits, uint32_t target, float scale, uint32_t n);

#endif
