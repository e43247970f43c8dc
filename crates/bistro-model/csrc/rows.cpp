// One function a row, each compiled for several instruction sets; the loader picks the widest that the processor has.
#include "rows.h"

#include <cmath>
#include <cstring>
#include <limits>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CLONES
#endif

namespace rows {
namespace {

// e^x within 2 units in the last place, without a call, so that loops over it become vector code. 0 far below zero; NaN stays.
inline __attribute__((always_inline)) float exp_(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float round = 12582912.0f; // 1.5 · 2²³: adding it leaves the nearest integer in the low bits
    const float shifted = x * 1.44269504f + round;
    const float n = shifted - round;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits;
    std::memcpy(&bits, &shifted, 4);
    bits = static_cast<int32_t>(static_cast<uint32_t>(bits - 0x4B400000 + 127) << 23); // 2^n
    float power;
    std::memcpy(&power, &bits, 4);
    return p * power;
}

} // namespace

CLONES float rms_norm(const float* x, const float* w, float* y, int64_t n, float eps) {
    float square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < n; i++) square += x[i] * x[i];
    const float r = 1.0f / std::sqrt(square / static_cast<float>(n) + eps);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * r * w[i];
    return r;
}

CLONES void rms_norm_back(const float* x, const float* w, const float* dy, float r, const float* more, float* dx, float* dw, int64_t n) {
    float along = 0;
#pragma omp simd reduction(+ : along)
    for (int64_t i = 0; i < n; i++) along += dy[i] * w[i] * x[i];
    const float back = along * r * r * r / static_cast<float>(n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        dx[i] = r * dy[i] * w[i] - back * x[i];
        dw[i] += dy[i] * x[i] * r;
    }
    if (more == nullptr) return;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dx[i] += more[i];
}

CLONES void swiglu(const float* gate, const float* up, float* z, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) z[i] = gate[i] / (1.0f + exp_(-gate[i])) * up[i];
}

CLONES void swiglu_back(const float* gate, const float* up, const float* dz, float* dgate, float* dup, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float s = 1.0f / (1.0f + exp_(-gate[i]));
        dup[i] = dz[i] * gate[i] * s;
        dgate[i] = dz[i] * up[i] * s * (1.0f + gate[i] * (1.0f - s));
    }
}

CLONES void rope(const float* x, const float* cos, const float* sin, float* y, int64_t half, float sign, float scale) {
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i] * scale, b = x[i + half] * scale, s = sign * sin[i];
        y[i] = a * cos[i] - b * s;
        y[i + half] = b * cos[i] + a * s;
    }
}

CLONES double cross_entropy(float* logits, int64_t n, int64_t target, bool gradient) {
    float top = -std::numeric_limits<float>::infinity(), total = 0;
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < n; i++) top = logits[i] > top ? logits[i] : top;
    const double wanted = static_cast<double>(logits[target]) - top;
    if (gradient) {
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < n; i++) {
            logits[i] = exp_(logits[i] - top);
            total += logits[i];
        }
        const float share = 1.0f / total;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) logits[i] *= share;
        logits[target] -= 1.0f;
    } else {
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < n; i++) total += exp_(logits[i] - top);
    }
    return std::log(static_cast<double>(total)) - wanted;
}

CLONES void softmax(float* x, int64_t n, int64_t seen, float* lse) {
    float top = -std::numeric_limits<float>::infinity(), total = 0;
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < seen; i++) top = x[i] > top ? x[i] : top;
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < seen; i++) {
        x[i] = exp_(x[i] - top);
        total += x[i];
    }
    const float share = 1.0f / total;
#pragma omp simd
    for (int64_t i = 0; i < seen; i++) x[i] *= share;
    for (int64_t i = seen; i < n; i++) x[i] = 0.0f;
    *lse = top + std::log(total);
}

CLONES void softmax_again(float* x, int64_t n, int64_t seen, float lse) {
#pragma omp simd
    for (int64_t i = 0; i < seen; i++) x[i] = exp_(x[i] - lse);
    for (int64_t i = seen; i < n; i++) x[i] = 0.0f;
}

CLONES void softmax_back(const float* p, float* dp, int64_t n, float delta) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dp[i] = p[i] * (dp[i] - delta);
}

CLONES float dot(const float* a, const float* b, int64_t n) {
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < n; i++) total += a[i] * b[i];
    return total;
}

CLONES void sum(float* w, const float* base, const float* delta, int64_t n, float scale) {
    for (int64_t i = 0; i < n; i++) {
        const float moved = delta[i] * scale;
        w[i] = base[i] + moved;
    }
}

} // namespace rows
