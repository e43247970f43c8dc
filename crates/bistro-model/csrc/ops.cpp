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

// The norm of each row of x, and 1 / root of its mean square.
std::pair<Tensor, Tensor> normed(const Tensor& x, const Tensor& w, double eps) {
    const int64_t n = x.size(-1), count = x.numel() / n;
    const Tensor y = at::empty_like(x), r = at::empty({count}, x.options());
    const float *xs = x.const_data_ptr<float>(), *ws = w.const_data_ptr<float>();
    float *ys = y.mutable_data_ptr<float>(), *rs = r.mutable_data_ptr<float>();
    at::parallel_for(0, count, grain(n), [=](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; i++) rs[i] = rows::rms_norm(xs + i * n, ws, ys + i * n, n, static_cast<float>(eps));
    });
    return {y, r};
}

// The gradients to x and w from the one to the norm, and to x from elsewhere too if `more` is defined.
std::pair<Tensor, Tensor> norm_back(const Tensor& x, const Tensor& w, const Tensor& r, const Tensor& dy_, const Tensor& more_) {
    const Tensor dy = dy_.contiguous(), more = more_.defined() ? more_.contiguous() : more_;
    const int64_t n = x.size(-1), count = x.numel() / n;
    // Rows are cut the same way whatever the number of threads, so that sums have the same bits.
    const int64_t parts = std::min<int64_t>(16, count), each = (count + parts - 1) / parts;
    const Tensor dx = at::empty_like(x), dw = at::zeros({parts, n}, x.options());
    const float *xs = x.const_data_ptr<float>(), *ws = w.const_data_ptr<float>(), *rs = r.const_data_ptr<float>(),
                *dys = dy.const_data_ptr<float>(), *mores = more.defined() ? more.const_data_ptr<float>() : nullptr;
    float *dxs = dx.mutable_data_ptr<float>(), *dws = dw.mutable_data_ptr<float>();
    at::parallel_for(0, parts, 1, [=](int64_t from, int64_t to) {
        for (int64_t p = from; p < to; p++)
            for (int64_t i = p * each; i < std::min(count, (p + 1) * each); i++)
                rows::rms_norm_back(xs + i * n, ws, dys + i * n, rs[i], mores ? mores + i * n : nullptr, dxs + i * n, dws + p * n, n);
    });
    return {dx, dw.sum(0)};
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
    static Tensor forward(AutogradContext* ctx, const Tensor& input, const Tensor& w, double eps) {
        const Tensor x = input.contiguous();
        const auto [y, r] = normed(x, w, eps);
        ctx->save_for_backward({x, w, r});
        return y;
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        const auto [dx, dw] = norm_back(saved[0], saved[1], saved[2], grads[0], Tensor());
        return {dx, dw, Tensor()};
    }
};

// x + a, and its norm: the sum's two gradients meet in one pass.
struct AddNorm : torch::autograd::Function<AddNorm> {
    static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& a, const Tensor& w, double eps) {
        const Tensor sum = at::add(x, a).contiguous();
        const auto [y, r] = normed(sum, w, eps);
        ctx->save_for_backward({sum, w, r});
        return {sum, y};
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        const auto [dx, dw] = norm_back(saved[0], saved[1], saved[2], grads[1], grads[0]);
        return {dx, dx, dw, Tensor()};
    }
};

// Rows of x are gate and up side by side.
struct Swiglu : torch::autograd::Function<Swiglu> {
    static Tensor forward(AutogradContext* ctx, const Tensor& input) {
        const Tensor x = input.contiguous();
        auto sides = x.sizes().vec();
        const int64_t n = sides.back() /= 2, count = x.numel() / (2 * n);
        Tensor z = at::empty(sides, x.options());
        const float* xs = x.const_data_ptr<float>();
        float* zs = z.mutable_data_ptr<float>();
        at::parallel_for(0, count, grain(n), [=](int64_t from, int64_t to) {
            for (int64_t i = from; i < to; i++) rows::swiglu(xs + 2 * i * n, xs + (2 * i + 1) * n, zs + i * n, n);
        });
        ctx->save_for_backward({x});
        return z;
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const Tensor x = ctx->get_saved_variables()[0], dz = grads[0].contiguous();
        const int64_t n = dz.size(-1), count = dz.numel() / n;
        Tensor dx = at::empty_like(x);
        const float *xs = x.const_data_ptr<float>(), *dzs = dz.const_data_ptr<float>();
        float* dxs = dx.mutable_data_ptr<float>();
        at::parallel_for(0, count, grain(n), [=](int64_t from, int64_t to) {
            for (int64_t i = from; i < to; i++) {
                const int64_t gate = 2 * i * n, up = gate + n;
                rows::swiglu_back(xs + gate, xs + up, dzs + i * n, dxs + gate, dxs + up, n);
            }
        });
        return {dx};
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

// sum = x + a, and norm = its norm.
char* bistro_add_norm(Tensor** sum, Tensor** norm, const Tensor* x, const Tensor* a, const Tensor* w, double eps) {
    return guarded([&] {
        const auto both = plain(*x) && plain(*a) ? AddNorm::apply(*x, *a, *w, eps) : variable_list{at::add(*x, *a)};
        const Tensor y = both.size() == 2 ? both[1] : at::rms_norm(both[0], w->sizes(), *w, eps);
        *sum = new Tensor(both[0]);
        *norm = new Tensor(y);
    });
}

// x [.., 2 F]: gate, then up.
char* bistro_swiglu(Tensor** out, const Tensor* x) {
    return guarded([&] {
        TORCH_CHECK(x->dim() > 0 && x->size(-1) % 2 == 0, "gate and up have the same width");
        if (plain(*x)) {
            *out = new Tensor(Swiglu::apply(*x));
        } else {
            const auto halves = x->chunk(2, -1);
            *out = new Tensor(at::silu(halves[0]).mul(halves[1]));
        }
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
