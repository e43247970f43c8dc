// Causal attention on a CPU in f32. Blocks of queries meet only the keys they may see; the heads that share a key are stacked,
// so that each matrix product is a large one. Scores are made again for the gradient instead of being kept.
#include "guard.h"
#include "rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

constexpr int64_t BLOCK = 128; // queries of a block: the scores of one key head and 1024 keys stay within the cache

// [B, T, N, D] → [B·K, T, G·D]-like access: one block of queries as [B·K, G·block, D], rows ordered group by group.
Tensor stacked(const Tensor& x, int64_t from, int64_t len, int64_t keys) {
    const int64_t b = x.size(0), n = x.size(2), d = x.size(3), group = n / keys;
    return x.narrow(1, from, len).reshape({b, len, keys, group, d}).permute({0, 2, 3, 1, 4}).contiguous().view({b * keys, group * len, d});
}

// The inverse of `stacked`, into its place in y.
void put(const Tensor& y, const Tensor& block, int64_t from, int64_t len, int64_t keys) {
    const int64_t b = y.size(0), n = y.size(2), d = y.size(3), group = n / keys;
    y.narrow(1, from, len)
        .view({b, len, keys, group, d})
        .copy_(block.view({b, keys, group, len, d}).permute({0, 3, 1, 2, 4}));
}

// [B, T, K, D] → [B·K, T, D]
Tensor by_head(const Tensor& x) { return x.transpose(1, 2).contiguous().view({-1, x.size(1), x.size(3)}); }

// Runs `body(row of the scores, how many keys it sees, its place in the block's lse)` over all rows of [H, G·len, seen].
template <class F>
void each_row(const Tensor& scores, int64_t from, int64_t len, F&& body) {
    const int64_t n = scores.size(2), count = scores.size(0) * scores.size(1);
    float* values = scores.mutable_data_ptr<float>();
    at::parallel_for(0, count, 8, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) body(values + i * n, from + i % len + 1, i);
    });
}

struct Attention : torch::autograd::Function<Attention> {
    static Tensor forward(AutogradContext* ctx, const Tensor& query, const Tensor& key, const Tensor& value) {
        const Tensor q = query.contiguous(), k = by_head(key), v = by_head(value);
        const int64_t t = q.size(1), keys = key.size(2), rows = q.size(0) * q.size(2);
        const float scale = 1.0f / std::sqrt(static_cast<float>(q.size(3)));
        Tensor y = at::empty_like(q), lse = at::empty({rows * t}, q.options());
        const int64_t stack = rows * std::min(BLOCK, t);
        Tensor scratch = at::empty({stack * t}, q.options());
        for (int64_t from = 0; from < t; from += BLOCK) {
            const int64_t len = std::min(BLOCK, t - from), seen = from + len;
            const Tensor block = stacked(q, from, len, keys); // [B·K, G·len, D]
            Tensor scores = scratch.narrow(0, 0, rows * len * seen).view({k.size(0), -1, seen});
            at::bmm_out(scores, block, k.narrow(1, 0, seen).transpose(1, 2));
            float* sums = lse.mutable_data_ptr<float>() + from * rows;
            each_row(scores, from, len,
                     [=](float* row, int64_t visible, int64_t i) { rows::softmax(row, seen, visible, scale, sums + i); });
            put(y, at::bmm(scores, v.narrow(1, 0, seen)), from, len, keys);
        }
        ctx->save_for_backward({q, k, v, y, lse});
        return y;
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &y = saved[3], &lse = saved[4];
        const Tensor dy = grads[0].contiguous();
        const int64_t b = q.size(0), t = q.size(1), d = q.size(3), keys = k.size(0) / b, rows = b * q.size(2);
        const float scale = 1.0f / std::sqrt(static_cast<float>(d));
        Tensor dq = at::empty_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
        const int64_t stack = rows * std::min(BLOCK, t);
        Tensor scratch = at::empty({2, stack * t}, q.options());
        for (int64_t from = 0; from < t; from += BLOCK) {
            const int64_t len = std::min(BLOCK, t - from), seen = from + len;
            const Tensor block = stacked(q, from, len, keys), dblock = stacked(dy, from, len, keys),
                         out = stacked(y, from, len, keys);
            const auto shaped = [&](int64_t i) { return scratch[i].narrow(0, 0, rows * len * seen).view({k.size(0), -1, seen}); };
            Tensor p = shaped(0), dp = shaped(1);
            at::bmm_out(p, block, k.narrow(1, 0, seen).transpose(1, 2));
            const float *sums = lse.const_data_ptr<float>() + from * rows, *douts = dblock.const_data_ptr<float>(),
                        *outs = out.const_data_ptr<float>();
            each_row(p, from, len, [=](float* row, int64_t visible, int64_t i) {
                rows::softmax_again(row, seen, visible, scale, sums[i]);
            });
            dv.narrow(1, 0, seen).baddbmm_(p.transpose(1, 2), dblock);
            at::bmm_out(dp, dblock, v.narrow(1, 0, seen).transpose(1, 2));
            const float* ps = p.const_data_ptr<float>();
            each_row(dp, from, len, [=](float* row, int64_t, int64_t i) {
                rows::softmax_back(ps + i * seen, row, seen, rows::dot(douts + i * d, outs + i * d, d), scale);
            });
            put(dq, at::bmm(dp, k.narrow(1, 0, seen)), from, len, keys);
            dk.narrow(1, 0, seen).baddbmm_(dp.transpose(1, 2), block);
        }
        const auto back = [&](const Tensor& x) { return x.view({b, keys, t, d}).transpose(1, 2); };
        return {dq, back(dk), back(dv)};
    }
};

} // namespace

// q [B, T, N, D], k and v [B, T, K, D] → [B, T, N, D]; each query sees the keys up to its own place.
extern "C" char* bistro_attention(Tensor** out, const Tensor* q, const Tensor* k, const Tensor* v) {
    return guarded([&] {
        if (q->is_cpu() && q->scalar_type() == at::kFloat) {
            *out = new Tensor(Attention::apply(*q, *k, *v));
            return;
        }
        const Tensor y = at::scaled_dot_product_attention(q->transpose(1, 2), k->transpose(1, 2), v->transpose(1, 2), {}, 0.0, true,
                                                          std::nullopt, q->size(2) != k->size(2));
        *out = new Tensor(y.transpose(1, 2));
    });
}
