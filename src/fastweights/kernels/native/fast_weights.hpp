// The fast-weight recurrence, forward and backward, for blocks of kLanes sequences. README.md derives the equations.
#pragma once

#include "abi.h"
#include "block.hpp"
#include "layer_norm.hpp"

namespace fw {
namespace FW_VARIANT {

// One block of a call, with its weights and the call's sizes in short.
template <class T> struct FastWeightsBlock : Block<T> {
    using V = Vec<T>;

    const FastWeightsCall& call;
    const int64_t H, S, steps;
    const bool norm;
    const T decay, fast_learning_rate, norm_epsilon;
    const T* W;
    const T* gain;
    const T* bias;

    FastWeightsBlock(const FastWeightsCall& c, int64_t block)
        : Block<T>(c, block), call(c), H(c.hidden), S(c.inner_steps), steps(c.steps), norm(c.norm_weight != nullptr),
          decay(T(c.settings[3 * this->member])), fast_learning_rate(T(c.settings[3 * this->member + 1])),
          norm_epsilon(T(c.settings[3 * this->member + 2])), W(part_of<T>(c.packed, this->member, H * H)),
          gain(part_of<T>(c.norm_weight, this->member, H)), bias(part_of<T>(c.norm_bias, this->member, H)) {}

    int64_t chunks() const { return (steps + call.chunk - 1) / call.chunk; }
    int64_t chunk_begin(int64_t chunk) const { return chunk * call.chunk; }
    int64_t chunk_steps(int64_t chunk) const {
        const int64_t left = steps - chunk * call.chunk;
        return left < call.chunk ? left : call.chunk;
    }
    // The checkpoint of A at the beginning of a chunk that is a multiple of `spacing`.
    V* checkpoint(int64_t chunk) const {
        const int64_t kept = (chunks() + call.spacing - 1) / call.spacing;
        return static_cast<V*>(call.checkpoints) + (this->index * kept + chunk / call.spacing) * H * H;
    }

    V activate(V x) const { return call.tanh ? hyperbolic_tangent<T>(x) : relu<T>(x); }
    // f′ by f's value.
    V slope(V y) const { return call.tanh ? T(1) - y * y : (y > V{} ? splat(T(1)) : V{}); }

    T decay_to(int64_t exponent) const {
        T power = 1;
        for (int64_t i = 0; i < exponent; ++i) power *= decay;
        return power;
    }

    // After n steps from `begin` on, A is λᵐ A + Σ_i weight[i] h_i h_iᵀ, where m of the n steps count in a lane. Returns λᵐ.
    V chunk_weights(int64_t begin, int64_t n, V* weight) const {
        V keep;
        for (int lane = 0; lane < kLanes<T>; ++lane) {
            const int64_t counted = int64_t(this->length[lane]) - begin;
            T power = 1;
            for (int64_t i = n - 1; i >= 0; --i) {
                weight[i][lane] = i < counted ? fast_learning_rate * power : 0;
                if (i < counted) power *= decay;
            }
            keep[lane] = power;
        }
        return keep;
    }
};

// What the forward pass leaves for the backward pass. The record of a step begins with the h before it; then come, for each
// inner step, its query h_s and, with layer norm, the normalised sum and 1/σ. The last h stands after the last record.
template <class T> struct Saved {
    using V = Vec<T>;
    V* base;
    int64_t H, S;
    bool norm;

    static int64_t width(int64_t H, int64_t S, bool norm) { return H + S * H + (norm ? S * (H + 1) : 0); }
    static int64_t size(int64_t H, int64_t S, bool norm, int64_t steps) { return steps * width(H, S, norm) + H; }
    V* record(int64_t t) const { return base + t * width(H, S, norm); }
    V* h(int64_t t) const { return record(t + 1); }
    V* query(int64_t t, int64_t s) const { return record(t) + H + s * H; }
    V* normalised(int64_t t, int64_t s) const { return record(t) + H + S * H + s * H; }
    V* inverse_deviation(int64_t t, int64_t s) const { return record(t) + H + 2 * S * H + s; }
};

// Steps of the past that attention reads together, for enough independent chains of multiply-adds.
constexpr int kPast = 4;

template <class T> struct FastWeightsForward {
    using V = Vec<T>;
    const FastWeightsBlock<T> block;
    const FastWeightsCall& call;
    const int64_t H, S;
    Saved<T> saved;
    V* A;         // (H, H)
    V* past;      // (chunk, H): h of the chunk's steps
    V* weight;    // (chunk)
    V* boundary;  // (H): W h(t) + C x
    V* total;     // (H)
    V* h;         // (H): h(t), zero where the sequence is over
    V* h_final;   // (H)
    bool has_A;   // A is not zero

    static int64_t scratch_width(const FastWeightsCall& c) {
        // Without a backward pass, one record of Saved is used over and over.
        const int64_t one_step = Saved<T>::size(c.hidden, c.inner_steps, c.norm_weight != nullptr, 1);
        return c.hidden * c.hidden + c.chunk * (c.hidden + 1) + 4 * c.hidden + one_step;
    }

    FastWeightsForward(const FastWeightsCall& c, int64_t index, V* scratch)
        : block(c, index), call(c), H(c.hidden), S(c.inner_steps), A(scratch), past(A + H * H),
          weight(past + c.chunk * H), boundary(weight + c.chunk), total(boundary + H), h(total + H), h_final(h + H),
          has_A(c.A0 != nullptr) {
        saved = {h_final + H, H, S, block.norm};
        if (c.saved) saved.base = static_cast<V*>(c.saved) + index * Saved<T>::size(H, S, block.norm, c.steps);
    }

    void run() {
        clear(h, H);
        if (call.h0) gather<T>(block.rows(call.h0, H), H, h);
        copy(h, H, h_final);
        copy(h, H, saved.record(0));
        if (has_A) gather<T>(block.rows(call.A0, H * H), H * H, A);
        for (int64_t chunk = 0; chunk < block.chunks(); ++chunk) run_chunk(chunk);
        block.write(call.lengths ? h_final : h, H, call.h_final, H);
        if (call.A_final) {
            if (!has_A) clear(A, H * H);
            block.write(A, H * H, call.A_final, H * H);
        }
    }

    void run_chunk(int64_t chunk) {
        const int64_t begin = block.chunk_begin(chunk), n = block.chunk_steps(chunk);
        if (has_A && call.checkpoints && chunk % call.spacing == 0) copy(A, H * H, block.checkpoint(chunk));
        for (int64_t j = 0; j < n; ++j) step(begin + j, j);
        const bool read_later = chunk + 1 < block.chunks() || call.A_final;
        if (read_later && (call.stores || has_A)) {
            const V keep = block.chunk_weights(begin, n, weight);
            decay_and_add_outer<T>(A, H, keep, !has_A, weight, past, past, n);
            has_A = true;
        }
    }

    // h(t) from h(t−1): the boundary condition, then S inner steps. j counts from the chunk's beginning.
    void step(int64_t t, int64_t j) {
        gather<T>(block.rows(call.z, block.steps * H, t * H), H, boundary);
        if (t > 0 || call.h0) shared_product<T, true>(block.W, H, H, h, boundary);
        const int64_t slot = call.saved ? t : 0;
        V* first = saved.query(slot, 0);
        for (int64_t i = 0; i < H; ++i) {
            first[i] = block.activate(boundary[i]);
            total[i] = boundary[i];
        }
        for (int64_t s = 0; s < S; ++s) {
            const V* query = saved.query(slot, s);
            if (s > 0) copy(boundary, H, total);
            if (has_A) add_product<T>(A, H, query, block.decay_to(j), total);
            if (call.stores) attend(query, j);
            V* next = s + 1 < S ? saved.query(slot, s + 1) : h;
            if (block.norm) {
                V* normalised = saved.normalised(slot, s);
                *saved.inverse_deviation(slot, s) = normalise<T>(total, H, block.norm_epsilon, normalised);
                for (int64_t i = 0; i < H; ++i) next[i] = block.activate(normalised[i] * block.gain[i] + block.bias[i]);
            } else {
                for (int64_t i = 0; i < H; ++i) next[i] = block.activate(total[i]);
            }
        }
        store(t, j, slot);
    }

    // total += η Σ_{i<j} λ^{j−1−i} h_i (h_i · query)  (eq. 4, within the chunk)
    void attend(const V* query, int64_t j) {
        T power = block.fast_learning_rate;
        for (; j >= kPast; j -= kPast) power = attend_tile<kPast>(query, past + (j - kPast) * H, power);
        for (; j > 0; --j) power = attend_tile<1>(query, past + (j - 1) * H, power);
    }

    // The terms of N steps, the last of them at λ's power `power`; returns the power of the step before them.
    template <int N> T attend_tile(const V* query, const V* steps, T power) {
        V read[N] = {};
        for (int64_t unit = 0; unit < H; ++unit)
            for (int i = 0; i < N; ++i) read[i] += steps[i * H + unit] * query[unit];
        for (int i = N - 1; i >= 0; --i, power *= block.decay) read[i] *= power;
        for (int64_t unit = 0; unit < H; ++unit) {
            V sum = total[unit];
            for (int i = 0; i < N; ++i) sum += read[i] * steps[i * H + unit];
            total[unit] = sum;
        }
        return power;
    }

    // Past the end of a sequence h is zero: that is what is put out, and nothing is stored in A.
    void store(int64_t t, int64_t j, int64_t slot) {
        if (call.lengths) {
            const auto counts = T(t) < block.length;
            for (int64_t i = 0; i < H; ++i) {
                h_final[i] = counts ? h[i] : h_final[i];
                h[i] = counts ? h[i] : V{};
            }
        }
        V *later = past + j * H, *kept = saved.h(slot);
        for (int64_t i = 0; i < H; ++i) later[i] = kept[i] = h[i];
        block.write(h, H, call.out, block.steps * H, t * H);
    }
};

template <class T> struct FastWeightsBackward {
    using V = Vec<T>;
    const FastWeightsBlock<T> block;
    const FastWeightsCall& call;
    const int64_t H, S;
    const T* W_transposed;
    const Saved<T> saved;
    V* A;               // (spacing, H, H): A at the beginning of the chunks since a checkpoint
    V* G;               // (H, H): gradient of A at the end of a chunk
    V* d_h;             // (T, H): gradient of h(t)
    V* d_sum;           // (chunk · S, H): gradients of the sums before layer norm
    V* query;           // (chunk · S, H): what A was read with
    V* read_weight;     // (chunk · S): the power of λ with which A at the chunk's beginning was read
    V* past;            // (chunk, H)
    V* weight;          // (chunk)
    V* g;               // (H): gradient on its way back through a step
    V* row;             // (H)
    V* d_gain;          // (H)
    V* d_bias;          // (H)
    V* d_boundary;      // (T, H): in the call
    bool has_G;         // G is not zero

    static bool keeps_A(const FastWeightsCall& c) {
        return c.A0 || (c.chunk < c.steps && c.stores);
    }
    static int64_t scratch_width(const FastWeightsCall& c) {
        const int64_t H = c.hidden, reads = c.chunk * c.inner_steps;
        return (keeps_A(c) ? c.spacing * H * H : 0) + H * H + c.steps * H + reads * (2 * H + 1) + c.chunk * (H + 1) + 4 * H;
    }

    FastWeightsBackward(const FastWeightsCall& c, int64_t index, V* scratch)
        : block(c, index), call(c), H(c.hidden), S(c.inner_steps),
          W_transposed(part_of<T>(c.packed, block.member, H * H)),
          saved{static_cast<V*>(c.saved) + index * Saved<T>::size(H, S, block.norm, c.steps), H, S, block.norm},
          A(scratch), G(A + (keeps_A(c) ? c.spacing * H * H : 0)), d_h(G + H * H), d_sum(d_h + c.steps * H),
          query(d_sum + c.chunk * S * H), read_weight(query + c.chunk * S * H), past(read_weight + c.chunk * S),
          weight(past + c.chunk * H), g(weight + c.chunk), row(g + H), d_gain(row + H), d_bias(d_gain + H),
          d_boundary(static_cast<V*>(c.d_boundary) + index * c.steps * H), has_G(c.d_A_final != nullptr) {}

    void run() {
        upstream();
        const int64_t chunks = block.chunks();
        for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
            const bool segment_ends = chunk == chunks - 1 || chunk % call.spacing == call.spacing - 1;
            if (keeps_A(call) && segment_ends) restore_A(chunk);
            const bool has_A = call.A0 || (chunk > 0 && call.stores);
            run_chunk(chunk, has_A ? A + chunk % call.spacing * H * H : nullptr);
        }
        finish();
    }

    // Past the end of a sequence outputs are constants; the final h is the output of its last step.
    void upstream() {
        clear(d_gain, H);
        clear(d_bias, H);
        clear(g, H);
        if (!call.d_out) clear(d_h, block.steps * H);
        if (call.d_out) gather<T>(block.rows(call.d_out, block.steps * H), block.steps * H, d_h);
        if (call.d_A_final) gather<T>(block.rows(call.d_A_final, H * H), H * H, G);
        if (call.d_h_final) gather<T>(block.rows(call.d_h_final, H), H, g);
        if (!call.d_h_final && !call.lengths) return;
        for (int64_t t = 0; t < block.steps; ++t) {
            const auto counts = T(t) < block.length;
            const auto last = T(t + 1) == block.length;
            for (int64_t i = 0; i < H; ++i)
                d_h[t * H + i] = (counts ? d_h[t * H + i] : V{}) + (last ? g[i] : V{});
        }
    }

    void copy_past(int64_t begin, int64_t n) {
        for (int64_t i = 0; i < n; ++i) copy<V>(saved.h(begin + i), H, past + i * H);
    }

    // A at the beginning of `chunk` and of those before it, down to the last checkpoint, computed forward from there.
    void restore_A(int64_t chunk) {
        const int64_t base = chunk / call.spacing * call.spacing;
        bool zero = base == 0 && !call.A0;
        if (!zero) copy<V>(block.checkpoint(base), H * H, A);
        for (int64_t c = base; c < chunk; ++c) {
            V* next = A + (c + 1 - base) * H * H;
            if (!zero) copy(next - H * H, H * H, next);
            copy_past(block.chunk_begin(c), call.chunk);
            const V keep = block.chunk_weights(block.chunk_begin(c), call.chunk, weight);
            decay_and_add_outer<T>(next, H, keep, zero, weight, past, past, call.chunk);
            zero = false;
        }
    }

    void run_chunk(int64_t chunk, const V* A_begin) {
        const int64_t begin = block.chunk_begin(chunk), n = block.chunk_steps(chunk);
        V keep{};
        if (has_G || A_begin) keep = block.chunk_weights(begin, n, weight);
        if (has_G) {
            copy_past(begin, n);
            add_symmetric_products<T>(G, H, weight, past, n, row, d_h + begin * H);
        }
        for (int64_t j = n - 1; j >= 0; --j) step(begin, j, A_begin);
        if (A_begin) decay_and_add_outer<T>(G, H, keep, !has_G, read_weight, d_sum, query, n * S);
        has_G = A_begin != nullptr;
    }

    void step(int64_t begin, int64_t j, const V* A_begin) {
        const int64_t t = begin + j;
        V* d_bound = d_boundary + t * H;
        for (int64_t s = S - 1; s >= 0; --s) {
            const bool last = s + 1 == S;
            const V *value = last ? saved.h(t) : saved.query(t, s + 1), *upstream = last ? d_h + t * H : g;
            V* d = d_sum + (j * S + s) * H;
            for (int64_t i = 0; i < H; ++i) d[i] = upstream[i] * block.slope(value[i]);
            if (block.norm)
                backward_normalise<T>(saved.normalised(t, s), *saved.inverse_deviation(t, s), block.gain, H, d, d_gain,
                                      d_bias);
            for (int64_t i = 0; i < H; ++i) {
                d_bound[i] = last ? d[i] : d_bound[i] + d[i];
                g[i] = V{};
            }
            if (A_begin) {
                const T power = block.decay_to(j);
                add_transposed_product<T>(A_begin, H, d, power, g);
                copy<V>(saved.query(t, s), H, query + (j * S + s) * H);
                read_weight[j * S + s] = splat(power);
            }
            if (call.stores) backward_attend(begin, j, saved.query(t, s), d);
        }
        for (int64_t i = 0; i < H; ++i) d_bound[i] += g[i] * block.slope(saved.query(t, 0)[i]);
        if (t > 0) shared_product<T, true>(W_transposed, H, H, d_bound, d_h + (t - 1) * H);
    }

    // The read η Σ_i λ^{j−1−i} h_i (h_i · q) sends its gradient d to q (into g) and to every h_i.
    void backward_attend(int64_t begin, int64_t j, const V* q, const V* d) {
        T power = block.fast_learning_rate;
        for (; j >= kPast; j -= kPast) power = backward_attend_tile<kPast>(begin + j - kPast, q, d, power);
        for (; j > 0; --j) power = backward_attend_tile<1>(begin + j - 1, q, d, power);
    }

    // The terms of N steps from t on; `power` as in FastWeightsForward.
    template <int N> T backward_attend_tile(int64_t t, const V* q, const V* d, T power) {
        const int64_t width = saved.h(1) - saved.h(0);
        const V* h = saved.h(t);
        V by_query[N] = {}, by_gradient[N] = {};
        for (int64_t unit = 0; unit < H; ++unit)
            for (int i = 0; i < N; ++i) {
                by_query[i] += h[i * width + unit] * q[unit];
                by_gradient[i] += h[i * width + unit] * d[unit];
            }
        for (int i = N - 1; i >= 0; --i, power *= block.decay) {
            by_query[i] *= power;
            by_gradient[i] *= power;
        }
        V* d_past = d_h + t * H;
        for (int64_t unit = 0; unit < H; ++unit) {
            V sum = g[unit];
            for (int i = 0; i < N; ++i) {
                sum += by_gradient[i] * h[i * width + unit];
                d_past[i * H + unit] += by_query[i] * d[unit] + by_gradient[i] * q[unit];
            }
            g[unit] = sum;
        }
        return power;
    }

    void finish() {
        block.write(d_boundary, block.steps * H, call.d_z, block.steps * H);
        if (call.d_h0) {
            shared_product<T, false>(W_transposed, H, H, d_boundary, g);
            block.write(g, H, call.d_h0, H);
        }
        if (call.d_A0) block.write(G, H * H, call.d_A0, H * H);
        if (call.d_norm) write_share<T>(d_gain, d_bias, H, static_cast<T*>(call.d_norm) + block.index * 2 * H);
    }
};

}  // namespace FW_VARIANT
}  // namespace fw
