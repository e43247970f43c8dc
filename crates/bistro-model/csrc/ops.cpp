// The operations of a Llama block that libtorch computes in several passes on a CPU, in one pass each and with their own
// gradients; on other devices, and in other number formats, the same mathematics by libtorch's operators.
#include "guard.h"
#include "rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

bool plain(const Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat; }

// About 32k values a task: less is not worth waking a thread for.
int64_t grain(int64_t row) { return std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(row, 1)); }

struct RmsNorm : torch::autograd::Function<RmsNorm> {
    static Tensor forward(AutogradContext* ctx, const Tensor& input, const Tensor& w, double eps) {
        const Tensor x = input.contiguous();
        const int64_t n = x.size(-1), count = x.numel() / n;
        Tensor y = at::empty_like(x), r = at::empty({count}, x.options());
        const float *xs = x.const_data_ptr<float>(), *ws = w.const_data_ptr<float>();
        float *ys = y.mutable_data_ptr<float>(), *rs = r.mutable_data_ptr<float>();
        at::parallel_for(0, count, grain(n), [=](int64_t from, int64_t to) {
            for (int64_t i = from; i < to; i++)
                rs[i] = rows::rms_norm(xs + i * n, ws, ys + i * n, n, static_cast<float>(eps));
        });
        ctx->save_for_backward({x, w, r});
        return y;
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        const Tensor &x = saved[0], &w = saved[1], &r = saved[2];
        const Tensor dy = grads[0].contiguous();
        const int64_t n = x.size(-1), count = x.numel() / n;
        // Rows are cut the same way whatever the number of threads, so that sums have the same bits.
        const int64_t parts = std::min<int64_t>(16, count), each = (count + parts - 1) / parts;
        Tensor dx = at::empty_like(x), dw = at::zeros({parts, n}, x.options());
        const float *xs = x.const_data_ptr<float>(), *ws = w.const_data_ptr<float>(), *rs = r.const_data_ptr<float>(),
                    *dys = dy.const_data_ptr<float>();
        float *dxs = dx.mutable_data_ptr<float>(), *dws = dw.mutable_data_ptr<float>();
        at::parallel_for(0, parts, 1, [=](int64_t from, int64_t to) {
            for (int64_t p = from; p < to; p++)
                for (int64_t i = p * each; i < std::min(count, (p + 1) * each); i++)
                    rows::rms_norm_back(xs + i * n, ws, dys + i * n, rs[i], dxs + i * n, dws + p * n, n);
        });
        return {dx, dw.sum(0), Tensor()};
    }
};

struct Swiglu : torch::autograd::Function<Swiglu> {
    static Tensor forward(AutogradContext* ctx, const Tensor& gate, const Tensor& up) {
        const Tensor g = gate.contiguous(), u = up.contiguous();
        Tensor z = at::empty_like(g);
        const float *gs = g.const_data_ptr<float>(), *us = u.const_data_ptr<float>();
        float* zs = z.mutable_data_ptr<float>();
        at::parallel_for(0, g.numel(), 1 << 14,
                         [=](int64_t from, int64_t to) { rows::swiglu(gs + from, us + from, zs + from, to - from); });
        ctx->save_for_backward({g, u});
        return z;
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        const Tensor dz = grads[0].contiguous();
        Tensor dg = at::empty_like(dz), du = at::empty_like(dz);
        const float *gs = saved[0].const_data_ptr<float>(), *us = saved[1].const_data_ptr<float>(),
                    *dzs = dz.const_data_ptr<float>();
        float *dgs = dg.mutable_data_ptr<float>(), *dus = du.mutable_data_ptr<float>();
        at::parallel_for(0, dz.numel(), 1 << 14, [=](int64_t from, int64_t to) {
            rows::swiglu_back(gs + from, us + from, dzs + from, dgs + from, dus + from, to - from);
        });
        return {dg, du};
    }
};

// x is [B, T, N, D], cos and sin [T, D/2].
Tensor turned(const Tensor& input, const Tensor& cos, const Tensor& sin, float sign) {
    const Tensor x = input.contiguous();
    const int64_t t = x.size(1), heads = x.size(2), d = x.size(3), half = d / 2;
    Tensor y = at::empty_like(x);
    const float *xs = x.const_data_ptr<float>(), *cs = cos.const_data_ptr<float>(), *ss = sin.const_data_ptr<float>();
    float* ys = y.mutable_data_ptr<float>();
    at::parallel_for(0, x.size(0) * t, grain(heads * d), [=](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; i++)
            for (int64_t h = 0; h < heads; h++) {
                const int64_t at = (i * heads + h) * d, angle = (i % t) * half;
                rows::rope(xs + at, cs + angle, ss + angle, ys + at, half, sign);
            }
    });
    return y;
}

struct Rope : torch::autograd::Function<Rope> {
    static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos, const Tensor& sin) {
        ctx->save_for_backward({cos, sin});
        return turned(x, cos, sin, 1.0f);
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        return {turned(grads[0], saved[0], saved[1], -1.0f), Tensor(), Tensor()};
    }
};

} // namespace

extern "C" {

// Each `out` receives a new tensor that the caller owns.
char* bistro_rms_norm(Tensor** out, const Tensor* x, const Tensor* w, double eps) {
    return guarded([&] {
        if (plain(*x)) {
            *out = new Tensor(RmsNorm::apply(*x, *w, eps));
        } else {
            *out = new Tensor(at::rms_norm(*x, w->sizes(), *w, eps));
        }
    });
}

char* bistro_swiglu(Tensor** out, const Tensor* gate, const Tensor* up) {
    return guarded([&] { *out = new Tensor(plain(*gate) ? Swiglu::apply(*gate, *up) : at::silu(*gate).mul(*up)); });
}

char* bistro_rope(Tensor** out, const Tensor* x, const Tensor* cos, const Tensor* sin) {
    return guarded([&] {
        if (plain(*x)) {
            *out = new Tensor(Rope::apply(*x, *cos, *sin));
            return;
        }
        const auto halves = x->chunk(2, -1);
        const Tensor c = cos->unsqueeze(1).to(x->scalar_type()), s = sin->unsqueeze(1).to(x->scalar_type()); // [T, 1, D/2]
        *out = new Tensor(at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1));
    });
}

// Sum of the cross-entropy of logits [n, V] against targets [n]; with `gradient` the logits become its gradient to them.
char* bistro_cross_entropy(Tensor* logits, const Tensor* targets, bool gradient, double* sum) {
    return guarded([&] {
        const int64_t count = logits->size(0), n = logits->size(1);
        float* values = logits->mutable_data_ptr<float>();
        const int64_t* wanted = targets->const_data_ptr<int64_t>();
        std::vector<double> losses(count);
        double* each = losses.data();
        at::parallel_for(0, count, 1, [=](int64_t from, int64_t to) {
            for (int64_t i = from; i < to; i++) each[i] = rows::cross_entropy(values + i * n, n, wanted[i], gradient);
        });
        *sum = 0;
        for (const double loss : losses) *sum += loss;
    });
}

// weight = base + delta · scale on a CPU, both given as values on the host.
char* bistro_sum(Tensor* weight, const float* base, const float* delta, int64_t n, float scale) {
    return guarded([&] {
        TORCH_CHECK(plain(*weight) && weight->is_contiguous() && weight->numel() == n, "a weight must be plain f32 on the CPU");
        float* values = weight->mutable_data_ptr<float>();
        at::parallel_for(0, n, 1 << 15, [=](int64_t from, int64_t to) {
            rows::sum(values + from, base + from, delta + from, to - from, scale);
        });
    });
}

// weight = values, of the host, on any device.
char* bistro_load(Tensor* weight, const float* values, int64_t n) {
    return guarded([&] {
        TORCH_CHECK(weight->numel() == n, "a weight of ", weight->numel(), " values cannot take ", n);
        at::NoGradGuard no_grad;
        weight->copy_(at::from_blob(const_cast<float*>(values), weight->sizes(), at::kFloat));
    });
}

// One fused step of AdamW. All lists have `n` tensors; `step` and `divisor` (of the gradients) hold one f32 on the device.
char* bistro_adamw(Tensor** weights, Tensor** grads, Tensor** means, Tensor** squares, int64_t n, const Tensor* step,
                   const Tensor* divisor, double lr, double beta1, double beta2, double decay, double eps) {
    return guarded([&] {
        at::NoGradGuard no_grad;
        const auto list = [n](Tensor** tensors) {
            std::vector<Tensor> all;
            for (int64_t i = 0; i < n; i++) all.push_back(*tensors[i]);
            return all;
        };
        const std::vector<Tensor> steps(n, *step);
        at::_fused_adamw_(list(weights), list(grads), list(means), list(squares), {}, steps, lr, beta1, beta2, decay, eps,
                          false, false, *divisor);
    });
}
}
