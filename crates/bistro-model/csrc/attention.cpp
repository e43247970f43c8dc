// Causal attention on a CPU in f32, from the fused projection to what the output projection reads: splitting, rotary positions
// and reordering in one pass. Each thread takes a key head of a sequence: a block of queries meets only the keys it may see, and
// the query heads that share a key head are rows of one matrix. Scores are made again for the gradient instead of being kept.
#include "guard.h"
#include "rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <cstring>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The BLAS inside libtorch, column by column.
extern "C" void sgemm_(const char* ta, const char* tb, const int* m, const int* n, const int* k, const float* alpha, const float* a,
                       const int* lda, const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace {

// Rows of scores in a block: with 512 keys they stay within a core's cache.
constexpr int64_t ROWS = 384;

// c [m, n] = a · b + beta · c, row by row; `ta`, `tb`: the factor lies transposed. `lda` and `ldb` are the factors' row lengths.
void product(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float beta,
             float* c) {
    const int rows = static_cast<int>(m), columns = static_cast<int>(n), inner = static_cast<int>(k);
    const int stride_a = static_cast<int>(lda), stride_b = static_cast<int>(ldb);
    const float one = 1.0f;
    sgemm_(tb ? "T" : "N", ta ? "T" : "N", &columns, &rows, &inner, &one, b, &stride_b, a, &stride_a, &beta, c, &columns);
}

struct Sides {
    int64_t b, t, heads, keys, d; // sequences, tokens, query heads, key heads, width of a head
    int64_t group() const { return heads / keys; }
    int64_t width() const { return (heads + 2 * keys) * d; }
    int64_t block() const { return std::min(t, std::max<int64_t>(16, ROWS / group())); } // queries at once
    float scale() const { return 1.0f / std::sqrt(static_cast<float>(d)); }
};

// Query, keys and values of every key head: q [B·K, T, G·D] (scaled), k and v [B·K, T, D].
void split(const Sides& s, const float* qkv, const float* cos, const float* sin, float* q, float* k, float* v) {
    const int64_t d = s.d, half = d / 2, group = s.group();
    at::parallel_for(0, s.b * s.t, 16, [=](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) {
            const int64_t place = i % s.t;
            const float *row = qkv + i * s.width(), *c = cos + place * half, *z = sin + place * half;
            for (int64_t head = 0; head < s.keys; head++) {
                const int64_t at = (i / s.t * s.keys + head) * s.t + place;
                for (int64_t g = 0; g < group; g++)
                    rows::rope(row + (head * group + g) * d, c, z, q + (at * group + g) * d, half, 1.0f, s.scale());
                rows::rope(row + (s.heads + head) * d, c, z, k + at * d, half, 1.0f, 1.0f);
                std::memcpy(v + at * d, row + (s.heads + s.keys + head) * d, d * sizeof(float));
            }
        }
    });
}

// Runs `body` on 0..count: on a thread each where there are enough, else in turn with all threads inside.
template <class F>
void each(int64_t count, F&& body) {
    const auto all = [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) body(i);
    };
    if (count >= at::get_num_threads()) {
        at::parallel_for(0, count, 1, all);
    } else {
        all(0, count);
    }
}

// `body(row)` for the rows of a block; inside of a thread's work one after another.
template <class F>
void each_row(int64_t count, F&& body) {
    at::parallel_for(0, count, 16, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) body(i);
    });
}

struct Attention : torch::autograd::Function<Attention> {
    static Tensor forward(AutogradContext* ctx, const Tensor& qkv_, const Tensor& cos, const Tensor& sin, int64_t heads, int64_t keys) {
        const Tensor qkv = qkv_.contiguous();
        const Sides s{qkv.size(0), qkv.size(1), heads, keys, qkv.size(2) / (heads + 2 * keys)};
        const int64_t group = s.group(), d = s.d, t = s.t, len = s.block(), blocks = (t + len - 1) / len;
        const Tensor q = at::empty({s.b * keys, t, group * d}, qkv.options()), k = at::empty({s.b * keys, t, d}, qkv.options()),
                     v = at::empty_like(k), lse = at::empty({s.b * keys, t * group}, qkv.options()),
                     y = at::empty({s.b, t, heads * d}, qkv.options());
        float *qs = q.mutable_data_ptr<float>(), *ks = k.mutable_data_ptr<float>(), *vs = v.mutable_data_ptr<float>(),
              *sums = lse.mutable_data_ptr<float>(), *ys = y.mutable_data_ptr<float>();
        split(s, qkv.const_data_ptr<float>(), cos.const_data_ptr<float>(), sin.const_data_ptr<float>(), qs, ks, vs);
        each(s.b * keys * blocks, [&](int64_t item) {
            const int64_t head = item / blocks, from = item % blocks * len, queries = std::min(len, t - from);
            const int64_t count = queries * group, seen = from + queries, first = (head * t + from) * group;
            const Tensor scratch = at::empty({count * (seen + d)}, q.options());
            float *scores = scratch.mutable_data_ptr<float>(), *out = scores + count * seen;
            product(false, true, count, seen, d, qs + first * d, d, ks + head * t * d, d, 0.0f, scores);
            each_row(count, [=](int64_t i) { rows::softmax(scores + i * seen, seen, from + i / group + 1, sums + first + i); });
            product(false, false, count, d, seen, scores, seen, vs + head * t * d, d, 0.0f, out);
            float* place = ys + (head / keys * t + from) * heads * d + head % keys * group * d;
            for (int64_t i = 0; i < queries; i++)
                std::memcpy(place + i * heads * d, out + i * group * d, group * d * sizeof(float));
        });
        ctx->save_for_backward({q, k, v, y, lse, cos, sin});
        return y;
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &y = saved[3], &lse = saved[4];
        const Tensor dy = grads[0].contiguous();
        const int64_t d = k.size(2), keys = k.size(0) / y.size(0);
        const Sides s{y.size(0), y.size(1), y.size(2) / d, keys, d};
        const Tensor dqkv = at::empty({s.b, s.t, s.width()}, y.options());
        float* dqkvs = dqkv.mutable_data_ptr<float>();
        const float *qs = q.const_data_ptr<float>(), *ks = k.const_data_ptr<float>(), *vs = v.const_data_ptr<float>(),
                    *ys = y.const_data_ptr<float>(), *sums = lse.const_data_ptr<float>(), *dys = dy.const_data_ptr<float>(),
                    *cos = saved[5].const_data_ptr<float>(), *sin = saved[6].const_data_ptr<float>();
        each(s.b * keys, [&](int64_t head) {
            const int64_t first = head / keys * s.t; // the sequence's first token
            const int64_t at = head * s.t;           // the head's first key
            back(s, head % keys, qs + at * s.group() * d, ks + at * d, vs + at * d, ys + first * s.heads * d, sums + at * s.group(),
                 dys + first * s.heads * d, cos, sin, dqkvs + first * s.width(), y.options());
        });
        return {dqkv, Tensor(), Tensor(), Tensor(), Tensor()};
    }

    // The gradients of one key head of one sequence, to their places in dqkv.
    static void back(const Sides& s, int64_t head, const float* q, const float* k, const float* v, const float* y, const float* sums,
                     const float* dy, const float* cos, const float* sin, float* dqkv, const at::TensorOptions& options) {
        const int64_t group = s.group(), d = s.d, t = s.t, half = d / 2, len = s.block(), most = len * group, wide = s.heads * d;
        const Tensor scratch = at::empty({2 * most * t + 2 * most * d}, options), sum = at::zeros({2 * t * d}, options);
        float *p = scratch.mutable_data_ptr<float>(), *dp = p + most * t, *dout = dp + most * t, *dq = dout + most * d;
        float *dk = sum.mutable_data_ptr<float>(), *dv = dk + t * d;
        for (int64_t from = 0; from < t; from += len) {
            const int64_t queries = std::min(len, t - from), seen = from + queries, count = queries * group;
            const float* block = q + from * group * d;
            const float *out = y + from * wide + head * group * d, *given = dy + from * wide + head * group * d;
            for (int64_t i = 0; i < queries; i++)
                std::memcpy(dout + i * group * d, given + i * wide, group * d * sizeof(float));
            product(false, true, count, seen, d, block, d, k, d, 0.0f, p);
            each_row(count, [=](int64_t i) {
                rows::softmax_again(p + i * seen, seen, from + i / group + 1, sums[from * group + i]);
            });
            product(true, false, seen, d, count, p, seen, dout, d, 1.0f, dv);
            product(false, true, count, seen, d, dout, d, v, d, 0.0f, dp);
            each_row(count, [=](int64_t i) {
                const float along = rows::dot(dout + i * d, out + i / group * wide + i % group * d, d);
                rows::softmax_back(p + i * seen, dp + i * seen, seen, along);
            });
            product(false, false, count, d, seen, dp, seen, k, d, 0.0f, dq);
            product(true, false, seen, d, count, dp, seen, block, d, 1.0f, dk);
            for (int64_t i = 0; i < count; i++) {
                const int64_t place = from + i / group;
                rows::rope(dq + i * d, cos + place * half, sin + place * half,
                           dqkv + place * s.width() + (head * group + i % group) * d, half, -1.0f, s.scale());
            }
        }
        for (int64_t i = 0; i < t; i++) {
            float* row = dqkv + i * s.width() + (s.heads + head) * d;
            rows::rope(dk + i * d, cos + i * half, sin + i * half, row, half, -1.0f, 1.0f);
            std::memcpy(row + s.keys * d, dv + i * d, d * sizeof(float));
        }
    }
};

// The pairs (i, i + D/2) of x [B, T, N, D] turned by the angles whose cosine and sine are [T, D/2].
Tensor turned(const Tensor& x, const Tensor& cos, const Tensor& sin) {
    const auto halves = x.chunk(2, -1);
    const Tensor c = cos.unsqueeze(1).to(x.scalar_type()), s = sin.unsqueeze(1).to(x.scalar_type()); // [T, 1, D/2]
    return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1);
}

} // namespace

// qkv [B, T, (N + 2 K)·D]: N query heads, then K key heads, then their values → [B, T, N·D]; each query sees the keys up to its place.
extern "C" char* bistro_attention(Tensor** out, const Tensor* qkv, const Tensor* cos, const Tensor* sin, int64_t heads, int64_t keys) {
    return guarded([&] {
        TORCH_CHECK(qkv->dim() == 3 && heads > 0 && keys > 0 && heads % keys == 0 && qkv->size(2) % (2 * (heads + 2 * keys)) == 0,
                    "a projection of ", qkv->sizes(), " does not hold ", heads, " query and ", keys, " key heads");
        const int64_t b = qkv->size(0), t = qkv->size(1), d = qkv->size(2) / (heads + 2 * keys);
        TORCH_CHECK(cos->is_contiguous() && sin->is_contiguous() && cos->numel() == t * d / 2 && sin->numel() == t * d / 2,
                    "angles of ", cos->sizes(), " for ", t, " tokens");
        if (qkv->is_cpu() && qkv->scalar_type() == at::kFloat) {
            *out = new Tensor(Attention::apply(*qkv, *cos, *sin, heads, keys));
            return;
        }
        const auto parts = qkv->view({b, t, -1, d}).split_with_sizes({heads, keys, keys}, 2);
        const Tensor q = turned(parts[0], *cos, *sin), k = turned(parts[1], *cos, *sin);
        const Tensor y = at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), parts[2].transpose(1, 2), {}, 0.0, true,
                                                          std::nullopt, heads != keys);
        *out = new Tensor(y.transpose(1, 2).reshape({b, t, -1}));
    });
}
