// Arithmetic on rows of f32, one pass over memory each, without torch: what `ops.cpp` runs on a CPU.
#pragma once
#include <cstdint>

namespace rows {

// y = x · w / sqrt(mean(x²) + eps); returns 1 / sqrt(…).
float rms_norm(const float* x, const float* w, float* y, int64_t n, float eps);
// The gradient to x, to which `more` is added if it is not null, and the row's share of the one to w added to dw.
void rms_norm_back(const float* x, const float* w, const float* dy, float r, const float* more, float* dx, float* dw, int64_t n);
// z = gate · sigmoid(gate) · up
void swiglu(const float* gate, const float* up, float* z, int64_t n);
void swiglu_back(const float* gate, const float* up, const float* dz, float* dgate, float* dup, int64_t n);
// Turns the pairs (i, i + half) of one head by their angles, and scales them; `sign` -1 turns back.
void rope(const float* x, const float* cos, const float* sin, float* y, int64_t half, float sign, float scale);
// Logits become softmax minus one-hot of `target` (if `gradient`; else they are only read). Returns the cross-entropy.
double cross_entropy(float* logits, int64_t n, int64_t target, bool gradient);
// x becomes softmax over the first `seen` places and 0 after them; `lse` is the logarithm of the sum of exp(x).
void softmax(float* x, int64_t n, int64_t seen, float* lse);
// Scores x become exp(x - lse), 0 after the first `seen`.
void softmax_again(float* x, int64_t n, int64_t seen, float lse);
// dp becomes p · (dp - delta)
void softmax_back(const float* p, float* dp, int64_t n, float delta);
float dot(const float* a, const float* b, int64_t n);
// w = base + delta · scale, rounded twice: this file is compiled without contraction to fused multiply-adds.
void sum(float* w, const float* base, const float* delta, int64_t n, float scale);

} // namespace rows
