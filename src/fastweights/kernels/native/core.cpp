// The C interface of one SIMD width, float and double: compiled once for each width, with FW_VARIANT in every name.
#include "associative_lstm.hpp"
#include "fast_weights.hpp"
#include "lstm.hpp"
#include "threads.h"
#include "weight_gradient.hpp"

#define FW_JOIN(a, b, c) a##_##b##_##c
#define FW_NAME(function, type, variant) FW_JOIN(function, type, variant)
#define FW_EXPORT(function, type) extern "C" __attribute__((visibility("default"))) FW_NAME_OF(function, type)
#define FW_NAME_OF(function, type) FW_NAME(function, type, FW_VARIANT)

namespace fw {
namespace FW_VARIANT {

// W of every member, or its transpose, as shared_product reads it. W is (rows, H).
template <class T, class Call> void pack_weights(const Call& call, int64_t rows, bool transposed) {
    const int64_t H = call.hidden;
    for (int64_t member = 0; member < call.members; ++member) {
        const T* W = static_cast<const T*>(call.weight_hh) + member * rows * H;
        T* packed = static_cast<T*>(call.packed) + member * rows * H;
        if (transposed)
            pack<T>(W, H, rows, 1, H, packed);
        else
            pack<T>(W, rows, H, H, 1, packed);
    }
}

template <class T, template <class> class Pass, class Call> void run_blocks(const Call& call) {
    struct Context {
        const Call& call;
        int64_t width;
    } context{call, Pass<T>::scratch_width(call)};
    const int64_t blocks = call.members * ((call.batch + kLanes<T> - 1) / kLanes<T>);
    fw_parallel(
        blocks, call.threads,
        [](void* c, int64_t block, int64_t thread) {
            const Context& context = *static_cast<Context*>(c);
            Pass<T>(context.call, block, static_cast<Vec<T>*>(context.call.scratch) + thread * context.width).run();
        },
        &context);
}

// The gradient of the shared recurrent matrix (rows, H) of each member, from what its blocks left. A call that began at
// h(0) = 0 has `d_h0` null, and the product of its first step is zero.
template <class T, class Call>
void weight_gradients(const Call& call, int64_t rows, Runs<T> d_rows, Runs<T> h) {
    const int64_t skipped = call.d_h0 ? 0 : 1;
    d_rows.first += skipped * d_rows.step;
    h.first += skipped * h.step;
    struct Context {
        const Call& call;
        int64_t blocks, steps, rows, bands, scratch;
        Runs<T> d_rows, h;
    } context{call,
              (call.batch + kLanes<T> - 1) / kLanes<T>,
              call.steps - skipped,
              rows,
              (rows + kGradientBand - 1) / kGradientBand,
              WeightGradient<T>::scratch_width(call.hidden),
              d_rows,
              h};
    fw_parallel(
        call.members * context.bands, call.threads,
        [](void* c, int64_t task, int64_t thread) {
            const Context& x = *static_cast<Context*>(c);
            const int64_t member = task / x.bands, begin = task % x.bands * kGradientBand, left = x.rows - begin;
            Runs<T> a = x.d_rows, b = x.h;
            a.first += member * x.blocks * a.run;
            b.first += member * x.blocks * b.run;
            T* gradient = static_cast<T*>(x.call.d_weight_hh) + member * x.rows * x.call.hidden;
            Vec<T>* scratch = static_cast<Vec<T>*>(x.call.scratch) + thread * x.scratch;
            WeightGradient<T>(a, b, x.blocks, x.steps, x.call.hidden, gradient, scratch)
                .band(begin, left < kGradientBand ? left : kGradientBand);
        },
        &context);
}

// gradient of gain and of bias, each (P, size): the sums of the blocks' shares, in one order however many threads there are.
template <class T>
void sum_shares(int64_t members, int64_t batch, const void* shares, int64_t size, void* d_gain, void* d_bias) {
    if (!d_gain) return;
    const int64_t blocks = (batch + kLanes<T> - 1) / kLanes<T>;
    const T* share = static_cast<const T*>(shares);
    for (int64_t member = 0; member < members; ++member) {
        T* gain = static_cast<T*>(d_gain) + member * size;
        T* bias = static_cast<T*>(d_bias) + member * size;
        clear(gain, size);
        clear(bias, size);
        for (int64_t block = 0; block < blocks; ++block, share += 2 * size)
            for (int64_t i = 0; i < size; ++i) {
                gain[i] += share[i];
                bias[i] += share[size + i];
            }
    }
}

// Vectors of lanes that every thread needs to itself.
template <class T, template <class> class Forward, template <class> class Backward, class Call>
int64_t scratch_width(const Call& call, bool backward) {
    if (!backward) return Forward<T>::scratch_width(call);
    const int64_t blocks = Backward<T>::scratch_width(call), sums = WeightGradient<T>::scratch_width(call.hidden);
    return sums > blocks ? sums : blocks;
}

template <class T> void fast_weights_forward(const FastWeightsCall& call) {
    pack_weights<T>(call, call.hidden, false);
    run_blocks<T, FastWeightsForward>(call);
}

template <class T> void fast_weights_backward(const FastWeightsCall& call) {
    const int64_t H = call.hidden, S = call.inner_steps;
    pack_weights<T>(call, H, true);
    run_blocks<T, FastWeightsBackward>(call);
    sum_shares<T>(call.members, call.batch, call.d_norm, H, call.d_norm_weight, call.d_norm_bias);
    const bool norm = call.norm_weight != nullptr;
    weight_gradients<T>(call, H, {static_cast<const Vec<T>*>(call.d_boundary), call.steps * H, H},
                        {static_cast<const Vec<T>*>(call.saved), Saved<T>::size(H, S, norm, call.steps),
                         Saved<T>::width(H, S, norm)});
}

template <class T> void lstm_forward(const LSTMCall& call) {
    pack_weights<T>(call, 4 * call.hidden, false);
    run_blocks<T, LSTMForward>(call);
}

template <class T> void lstm_backward(const LSTMCall& call) {
    const int64_t H = call.hidden;
    pack_weights<T>(call, 4 * H, true);
    run_blocks<T, LSTMBackward>(call);
    sum_shares<T>(call.members, call.batch, call.d_norm, 4 * H, call.d_hh_weight, call.d_hh_bias);
    sum_shares<T>(call.members, call.batch, call.d_cell_norm, H, call.d_cell_weight, call.d_cell_bias);
    const bool norm = call.hh_weight != nullptr;
    weight_gradients<T>(call, 4 * H, {static_cast<const Vec<T>*>(call.d_recurrent), call.steps * 4 * H, 4 * H},
                        {static_cast<const Vec<T>*>(call.saved), LSTMSaved<T>::size(H, norm, call.steps),
                         LSTMSaved<T>::width(H, norm)});
}

template <class T> void associative_lstm_forward(const AssociativeLSTMCall& call) {
    pack_weights<T>(call, AssociativeLSTMLayout(call).units(), false);
    run_blocks<T, AssociativeLSTMForward>(call);
}

template <class T> void associative_lstm_backward(const AssociativeLSTMCall& call) {
    const AssociativeLSTMLayout layout(call);
    const int64_t Z = layout.units();
    pack_weights<T>(call, Z, true);
    run_blocks<T, AssociativeLSTMBackward>(call);
    const bool norm = call.norm_weight != nullptr;
    sum_shares<T>(call.members, call.batch, call.d_norm, Z, call.d_norm_weight, call.d_norm_bias);
    weight_gradients<T>(call, Z, {static_cast<const Vec<T>*>(call.d_recurrent), call.steps * Z, Z},
                        {static_cast<const Vec<T>*>(call.saved),
                         AssociativeLSTMSaved<T>::size(layout, norm, call.steps),
                         AssociativeLSTMSaved<T>::width(layout, norm)});
}

// Independent multiply-adds, enough to fill the pipelines; returns their number of floating-point operations.
template <class T> int64_t multiply_add(int64_t rounds, T* result) {
    constexpr int kChains = 12;
    Vec<T> chain[kChains];
    for (int i = 0; i < kChains; ++i) chain[i] = splat(T(i));
    const Vec<T> factor = splat(T(0.5)) + *result, term = splat(T(1)) + *result;
    for (int64_t round = 0; round < rounds; ++round)
        for (int i = 0; i < kChains; ++i) chain[i] = chain[i] * factor + term;
    Vec<T> sum{};
    for (int i = 0; i < kChains; ++i) sum += chain[i];
    *result = sum_of_lanes<T>(sum);
    return rounds * kChains * kLanes<T> * 2;
}

}  // namespace FW_VARIANT
}  // namespace fw

using namespace fw::FW_VARIANT;

#define FW_DEFINE(T, type)                                                                                                 \
    FW_EXPORT(void fw_fast_weights_forward, type)(const FastWeightsCall* c) { fast_weights_forward<T>(*c); }               \
    FW_EXPORT(void fw_fast_weights_backward, type)(const FastWeightsCall* c) { fast_weights_backward<T>(*c); }             \
    FW_EXPORT(int64_t fw_fast_weights_saved, type)(const FastWeightsCall* c) {                                             \
        return Saved<T>::size(c->hidden, c->inner_steps, c->norm_weight != nullptr, c->steps);                             \
    }                                                                                                                      \
    FW_EXPORT(int64_t fw_fast_weights_scratch, type)(const FastWeightsCall* c, int64_t backward) {                         \
        return scratch_width<T, FastWeightsForward, FastWeightsBackward>(*c, backward);                                    \
    }                                                                                                                      \
    FW_EXPORT(void fw_lstm_forward, type)(const LSTMCall* c) { lstm_forward<T>(*c); }                                      \
    FW_EXPORT(void fw_lstm_backward, type)(const LSTMCall* c) { lstm_backward<T>(*c); }                                    \
    FW_EXPORT(int64_t fw_lstm_saved, type)(const LSTMCall* c) {                                                            \
        return LSTMSaved<T>::size(c->hidden, c->hh_weight != nullptr, c->steps);                                           \
    }                                                                                                                      \
    FW_EXPORT(int64_t fw_lstm_scratch, type)(const LSTMCall* c, int64_t backward) {                                        \
        return scratch_width<T, LSTMForward, LSTMBackward>(*c, backward);                                                  \
    }                                                                                                                      \
    FW_EXPORT(void fw_associative_lstm_forward, type)(const AssociativeLSTMCall* c) { associative_lstm_forward<T>(*c); }   \
    FW_EXPORT(void fw_associative_lstm_backward, type)(const AssociativeLSTMCall* c) { associative_lstm_backward<T>(*c); } \
    FW_EXPORT(int64_t fw_associative_lstm_saved, type)(const AssociativeLSTMCall* c) {                                     \
        return AssociativeLSTMSaved<T>::size(AssociativeLSTMLayout(*c), c->norm_weight != nullptr, c->steps);              \
    }                                                                                                                      \
    FW_EXPORT(int64_t fw_associative_lstm_scratch, type)(const AssociativeLSTMCall* c, int64_t backward) {                 \
        return scratch_width<T, AssociativeLSTMForward, AssociativeLSTMBackward>(*c, backward);                            \
    }                                                                                                                      \
    FW_EXPORT(int64_t fw_multiply_add, type)(int64_t rounds, T* result) { return multiply_add<T>(rounds, result); }        \
    FW_EXPORT(int64_t fw_lanes, type)() { return kLanes<T>; }

FW_DEFINE(float, f32)
FW_DEFINE(double, f64)
