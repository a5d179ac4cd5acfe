// The associative LSTM's recurrence, forward and backward, for blocks of kLanes sequences; equations in
// kernels/associative_lstm/reference.py, derivatives in the README.md beside it.
//
// A complex vector of N entries is 2N = H vectors of lanes: first the real parts, then the imaginary parts.
#pragma once

#include "abi.h"
#include "block.hpp"
#include "layer_norm.hpp"

namespace fw {
namespace FW_VARIANT {

// Where the parts of a step's Z = (1 + 8K) N linear units lie: the gate f, then i, o, r_i, r_o, u for each head.
struct AssociativeLSTMLayout {
    int64_t N, heads, copies;

    explicit AssociativeLSTMLayout(const AssociativeLSTMCall& c) : N(c.hidden / 2), heads(c.heads), copies(c.copies) {}
    int64_t units() const { return (1 + 8 * heads) * N; }
    int64_t write_gate(int64_t k) const { return (1 + 8 * k) * N; }
    int64_t read_gate(int64_t k) const { return (2 + 8 * k) * N; }
    int64_t write_key(int64_t k) const { return (3 + 8 * k) * N; }
    int64_t read_key(int64_t k) const { return (5 + 8 * k) * N; }
    int64_t update(int64_t k) const { return (7 + 8 * k) * N; }
};

// What the forward pass leaves for the backward pass. The record of a step begins with the h and the copies before it; then
// come the units after their nonlinearities, 1/max(1, |·|) of each bounded vector (r_i, r_o, u of each head and what the
// head reads), what each head reads, bounded, and with layer norm the normalised W h and its 1/σ. The last h and copies stand
// after the last record.
template <class T> struct AssociativeLSTMSaved {
    using V = Vec<T>;
    V* base;
    AssociativeLSTMLayout layout;
    bool norm;

    static int64_t state(AssociativeLSTMLayout l) { return 2 * l.N * (1 + l.copies); }
    static int64_t width(AssociativeLSTMLayout l, bool norm) {
        return state(l) + l.units() + 6 * l.heads * l.N + (norm ? l.units() + 1 : 0);
    }
    static int64_t size(AssociativeLSTMLayout l, bool norm, int64_t steps) { return steps * width(l, norm) + state(l); }
    V* h(int64_t t) const { return base + (t + 1) * width(layout, norm); }
    V* c(int64_t t) const { return h(t) + 2 * layout.N; }
    V* units(int64_t t) const { return base + t * width(layout, norm) + state(layout); }
    V* shrink(int64_t t, int64_t k) const { return units(t) + layout.units() + 4 * k * layout.N; }
    V* read(int64_t t, int64_t k) const { return units(t) + layout.units() + (4 * layout.heads + 2 * k) * layout.N; }
    V* normalised(int64_t t) const { return units(t) + layout.units() + 6 * layout.heads * layout.N; }
    V* inverse_deviation(int64_t t) const { return normalised(t) + layout.units(); }
};

// a ← a / max(1, |a|), entry by entry; keeps 1 / max(1, |a|).
template <class T> inline void bound(Vec<T>* a, int64_t N, Vec<T>* shrink) {
    for (int64_t j = 0; j < N; ++j) {
        const Vec<T> square = a[j] * a[j] + a[N + j] * a[N + j];
        // NaN is not below 1 and goes on.
        shrink[j] = square < splat(T(1)) ? splat(T(1)) : T(1) / square_root<T>(square);
        a[j] *= shrink[j];
        a[N + j] *= shrink[j];
    }
}

// In place: the gradient d of the bounded vector → that of the vector before. Outside the circle only what is across it stays.
template <class T> inline void backward_bound(const Vec<T>* bounded, const Vec<T>* shrink, int64_t N, Vec<T>* d) {
    for (int64_t j = 0; j < N; ++j) {
        const auto inside = shrink[j] == splat(T(1));
        const Vec<T> along = bounded[j] * d[j] + bounded[N + j] * d[N + j];
        d[j] = inside ? d[j] : shrink[j] * (d[j] - bounded[j] * along);
        d[N + j] = inside ? d[N + j] : shrink[j] * (d[N + j] - bounded[N + j] * along);
    }
}

template <class T> struct AssociativeLSTMForward {
    using V = Vec<T>;
    const Block<T> block;
    const AssociativeLSTMCall& call;
    const AssociativeLSTMLayout layout;
    const int64_t H, N, Z, state;
    const bool norm;
    const T* W;
    const T* gain;
    const T* bias;
    const int64_t* permutations;
    AssociativeLSTMSaved<T> saved;
    V* z;            // (Z)
    V* state_final;  // (H + copies · H)
    V* written;      // (H): σ(i) ⊙ u

    static int64_t scratch_width(const AssociativeLSTMCall& c) {
        // Without a backward pass, one record of AssociativeLSTMSaved is used over and over.
        const AssociativeLSTMLayout l(c);
        return l.units() + AssociativeLSTMSaved<T>::state(l) + 2 * l.N +
               AssociativeLSTMSaved<T>::size(l, c.norm_weight != nullptr, 1);
    }

    AssociativeLSTMForward(const AssociativeLSTMCall& c, int64_t index, V* scratch)
        : block(c, index), call(c), layout(c), H(c.hidden), N(layout.N), Z(layout.units()),
          state(AssociativeLSTMSaved<T>::state(layout)), norm(c.norm_weight != nullptr),
          W(part_of<T>(c.packed, block.member, Z * H)), gain(part_of<T>(c.norm_weight, block.member, Z)),
          bias(part_of<T>(c.norm_bias, block.member, Z)), permutations(c.permutations + block.member * c.copies * N),
          saved{scratch + Z + state + H, layout, norm}, z(scratch), state_final(z + Z), written(state_final + state) {
        if (c.saved)
            saved.base = static_cast<V*>(c.saved) + index * AssociativeLSTMSaved<T>::size(layout, norm, c.steps);
    }

    void run() {
        clear(saved.h(-1), state);
        if (call.h0) gather<T>(block.rows(call.h0, H), H, saved.h(-1));
        if (call.c0) gather<T>(block.rows(call.c0, call.copies * H), call.copies * H, saved.c(-1));
        for (int64_t t = 0; t < call.steps; ++t) {
            if (call.saved || t == 0) {
                step(t, t);
            } else {
                copy(saved.h(0), state, saved.h(-1));
                step(t, 0);
            }
        }
        block.write(state_final, H, call.h_final, H);
        block.write(state_final + H, call.copies * H, call.c_final, call.copies * H);
    }

    void step(int64_t t, int64_t slot) {
        V* units = saved.units(slot);
        if (t > 0 || call.h0)
            shared_product<T, false>(W, Z, H, saved.h(slot - 1), units);
        else
            clear(units, Z);
        if (norm) {
            V* normalised = saved.normalised(slot);
            *saved.inverse_deviation(slot) = normalise<T>(units, Z, T(call.norm_epsilon), normalised);
            for (int64_t i = 0; i < Z; ++i) units[i] = normalised[i] * gain[i] + bias[i];
        }
        gather<T>(block.rows(call.z, call.steps * Z, t * Z), Z, z);
        for (int64_t i = 0; i < Z; ++i) units[i] += z[i];
        for (int64_t j = 0; j < N; ++j) units[j] = sigmoid<T>(units[j]);
        for (int64_t s = 0; s < call.copies; ++s) forget(units, saved.c(slot - 1) + s * H, saved.c(slot) + s * H);
        for (int64_t k = 0; k < call.heads; ++k) write(slot, k);
        clear(saved.h(slot), H);
        for (int64_t k = 0; k < call.heads; ++k) read(slot, k);
        store(t, slot);
    }

    void forget(const V* gate, const V* before, V* after) {
        for (int64_t j = 0; j < N; ++j) {
            after[j] = gate[j] * before[j];
            after[N + j] = gate[j] * before[N + j];
        }
    }

    // Adds (P_s r_i) ⊛ (σ(i) ⊙ u) to every copy.
    void write(int64_t slot, int64_t k) {
        V *units = saved.units(slot), *shrink = saved.shrink(slot, k);
        V *gate = units + layout.write_gate(k), *key = units + layout.write_key(k), *u = units + layout.update(k);
        bound<T>(key, N, shrink);
        bound<T>(u, N, shrink + N);
        for (int64_t j = 0; j < N; ++j) {
            gate[j] = sigmoid<T>(gate[j]);
            written[j] = gate[j] * u[j];
            written[N + j] = gate[j] * u[N + j];
        }
        for (int64_t s = 0; s < call.copies; ++s) {
            const int64_t* from = permutations + s * N;
            V* c = saved.c(slot) + s * H;
            for (int64_t j = 0; j < N; ++j) {
                const V real = key[from[j]], imaginary = key[N + from[j]];
                c[j] += real * written[j] - imaginary * written[N + j];
                c[N + j] += real * written[N + j] + imaginary * written[j];
            }
        }
    }

    // Adds σ(o) ⊙ bound(mean over the copies of (P_s r_o) ⊛ c_s) to h.
    void read(int64_t slot, int64_t k) {
        V *units = saved.units(slot), *shrink = saved.shrink(slot, k), *read = saved.read(slot, k), *h = saved.h(slot);
        V *gate = units + layout.read_gate(k), *key = units + layout.read_key(k);
        bound<T>(key, N, shrink + 2 * N);
        clear(read, H);
        for (int64_t s = 0; s < call.copies; ++s) {
            const int64_t* from = permutations + s * N;
            const V* c = saved.c(slot) + s * H;
            for (int64_t j = 0; j < N; ++j) {
                const V real = key[from[j]], imaginary = key[N + from[j]];
                read[j] += real * c[j] - imaginary * c[N + j];
                read[N + j] += real * c[N + j] + imaginary * c[j];
            }
        }
        for (int64_t i = 0; i < H; ++i) read[i] /= T(call.copies);
        bound<T>(read, N, shrink + 3 * N);
        for (int64_t j = 0; j < N; ++j) {
            gate[j] = sigmoid<T>(gate[j]);
            h[j] += gate[j] * read[j];
            h[N + j] += gate[j] * read[N + j];
        }
    }

    // Past the end of a sequence outputs are zero, and the final state is that of its last step.
    void store(int64_t t, int64_t slot) {
        const auto counts = T(t) < block.length;
        V* now = saved.h(slot);  // the copies lie behind it
        for (int64_t i = 0; i < state; ++i) {
            state_final[i] = counts ? now[i] : state_final[i];
            now[i] = counts ? now[i] : V{};
        }
        block.write(now, H, call.out, call.steps * H, t * H);
    }
};

template <class T> struct AssociativeLSTMBackward {
    using V = Vec<T>;
    const Block<T> block;
    const AssociativeLSTMCall& call;
    const AssociativeLSTMLayout layout;
    const int64_t H, N, Z, state;
    const bool norm;
    const T* W_transposed;
    const T* gain;
    const int64_t* permutations;
    const AssociativeLSTMSaved<T> saved;
    V* d_state;        // (H + copies · H): from the step after; h first
    V* d_state_final;  // (H + copies · H)
    V* d_out;          // (H)
    V* d_read;         // (H)
    V* d_written;      // (H)
    V* d_gain;         // (Z)
    V* d_bias;         // (Z)
    V* d_recurrent;    // (T, Z): in the call

    static int64_t scratch_width(const AssociativeLSTMCall& c) {
        const AssociativeLSTMLayout l(c);
        return 2 * AssociativeLSTMSaved<T>::state(l) + 6 * l.N + 2 * l.units();
    }

    AssociativeLSTMBackward(const AssociativeLSTMCall& c, int64_t index, V* scratch)
        : block(c, index), call(c), layout(c), H(c.hidden), N(layout.N), Z(layout.units()),
          state(AssociativeLSTMSaved<T>::state(layout)), norm(c.norm_weight != nullptr),
          W_transposed(part_of<T>(c.packed, block.member, Z * H)),
          gain(part_of<T>(c.norm_weight, block.member, Z)), permutations(c.permutations + block.member * c.copies * N),
          saved{static_cast<V*>(c.saved) + index * AssociativeLSTMSaved<T>::size(layout, norm, c.steps), layout, norm},
          d_state(scratch), d_state_final(d_state + state), d_out(d_state_final + state), d_read(d_out + H),
          d_written(d_read + H), d_gain(d_written + H), d_bias(d_gain + Z),
          d_recurrent(static_cast<V*>(c.d_recurrent) + index * c.steps * Z) {}

    void run() {
        clear(d_state, scratch_width(call));
        if (call.d_h_final) gather<T>(block.rows(call.d_h_final, H), H, d_state_final);
        if (call.d_c_final) gather<T>(block.rows(call.d_c_final, call.copies * H), call.copies * H, d_state_final + H);
        for (int64_t t = call.steps - 1; t >= 0; --t) step(t);
        if (call.d_h0) block.write(d_state, H, call.d_h0, H);
        if (call.d_c0) block.write(d_state + H, call.copies * H, call.d_c0, call.copies * H);
        if (norm) write_share<T>(d_gain, d_bias, Z, static_cast<T*>(call.d_norm) + block.index * 2 * Z);
    }

    void step(int64_t t) {
        upstream(t);
        V* d = d_recurrent + t * Z;
        clear(d, Z);
        for (int64_t k = 0; k < call.heads; ++k) backward_read(t, k, d);
        for (int64_t k = 0; k < call.heads; ++k) backward_write(t, k, d);
        backward_forget(t, d);
        block.write(d, Z, call.d_z, call.steps * Z, t * Z);
        if (norm)
            backward_normalise<T>(saved.normalised(t), *saved.inverse_deviation(t), gain, Z, d, d_gain, d_bias);
        if (t > 0 || call.d_h0) shared_product<T, false>(W_transposed, H, Z, d, d_state);
    }

    // Adds what reaches step t from outside; past the end of a sequence, outputs and state are constants.
    void upstream(int64_t t) {
        if (call.d_out) gather<T>(block.rows(call.d_out, call.steps * H, t * H), H, d_out);
        for (int64_t i = 0; i < H; ++i) d_state[i] += d_out[i];
        const auto counts = T(t) < block.length;
        const auto last = T(t + 1) == block.length;
        for (int64_t i = 0; i < state; ++i)
            d_state[i] = (counts ? d_state[i] : V{}) + (last ? d_state_final[i] : V{});
    }

    void backward_read(int64_t t, int64_t k, V* d) {
        const V *units = saved.units(t), *shrink = saved.shrink(t, k), *read = saved.read(t, k), *d_h = d_state;
        const V *gate = units + layout.read_gate(k), *key = units + layout.read_key(k);
        V *d_gate = d + layout.read_gate(k), *d_key = d + layout.read_key(k);
        for (int64_t j = 0; j < N; ++j) {
            d_gate[j] = (d_h[j] * read[j] + d_h[N + j] * read[N + j]) * gate[j] * (T(1) - gate[j]);
            d_read[j] = gate[j] * d_h[j];
            d_read[N + j] = gate[j] * d_h[N + j];
        }
        backward_bound<T>(read, shrink + 3 * N, N, d_read);
        for (int64_t i = 0; i < H; ++i) d_read[i] /= T(call.copies);
        for (int64_t s = 0; s < call.copies; ++s) {
            const int64_t* from = permutations + s * N;
            const V* c = saved.c(t) + s * H;
            V* d_c = d_state + (1 + s) * H;
            for (int64_t j = 0; j < N; ++j) {
                const V real = key[from[j]], imaginary = key[N + from[j]];
                d_c[j] += real * d_read[j] + imaginary * d_read[N + j];
                d_c[N + j] += real * d_read[N + j] - imaginary * d_read[j];
                d_key[from[j]] += c[j] * d_read[j] + c[N + j] * d_read[N + j];
                d_key[N + from[j]] += c[j] * d_read[N + j] - c[N + j] * d_read[j];
            }
        }
        backward_bound<T>(key, shrink + 2 * N, N, d_key);
    }

    void backward_write(int64_t t, int64_t k, V* d) {
        const V *units = saved.units(t), *shrink = saved.shrink(t, k);
        const V *gate = units + layout.write_gate(k), *key = units + layout.write_key(k), *u = units + layout.update(k);
        V *d_gate = d + layout.write_gate(k), *d_key = d + layout.write_key(k), *d_u = d + layout.update(k);
        clear(d_written, H);
        for (int64_t s = 0; s < call.copies; ++s) {
            const int64_t* from = permutations + s * N;
            const V* d_c = d_state + (1 + s) * H;
            for (int64_t j = 0; j < N; ++j) {
                const V real = key[from[j]], imaginary = key[N + from[j]];
                const V written_real = gate[j] * u[j], written_imaginary = gate[j] * u[N + j];
                d_written[j] += real * d_c[j] + imaginary * d_c[N + j];
                d_written[N + j] += real * d_c[N + j] - imaginary * d_c[j];
                d_key[from[j]] += written_real * d_c[j] + written_imaginary * d_c[N + j];
                d_key[N + from[j]] += written_real * d_c[N + j] - written_imaginary * d_c[j];
            }
        }
        for (int64_t j = 0; j < N; ++j) {
            d_gate[j] = (d_written[j] * u[j] + d_written[N + j] * u[N + j]) * gate[j] * (T(1) - gate[j]);
            d_u[j] = gate[j] * d_written[j];
            d_u[N + j] = gate[j] * d_written[N + j];
        }
        backward_bound<T>(key, shrink, N, d_key);
        backward_bound<T>(u, shrink + N, N, d_u);
    }

    // The gradient of the copies before the step takes the place of that after it.
    void backward_forget(int64_t t, V* d) {
        const V* gate = saved.units(t);
        for (int64_t s = 0; s < call.copies; ++s) {
            const V* before = saved.c(t - 1) + s * H;
            V* d_c = d_state + (1 + s) * H;
            for (int64_t j = 0; j < N; ++j) {
                d[j] += d_c[j] * before[j] + d_c[N + j] * before[N + j];
                d_c[j] *= gate[j];
                d_c[N + j] *= gate[j];
            }
        }
        for (int64_t j = 0; j < N; ++j) d[j] *= gate[j] * (T(1) - gate[j]);
    }
};

}  // namespace FW_VARIANT
}  // namespace fw
