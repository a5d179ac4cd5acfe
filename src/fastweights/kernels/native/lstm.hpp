// The LSTM recurrence, forward and backward, for blocks of kLanes sequences; equations in kernels/lstm/reference.py.
#pragma once

#include "abi.h"
#include "block.hpp"
#include "layer_norm.hpp"

namespace fw {
namespace FW_VARIANT {

// What the forward pass leaves for the backward pass. The record of a step begins with the h and c before it; then come the
// gates i, f, g, o after their nonlinearities, tanh of the cell that is read, and with layer norm the normalised W h and
// cell, each followed by its 1/σ. The last h and c stand after the last record.
template <class T> struct LSTMSaved {
    using V = Vec<T>;
    V* base;
    int64_t H;
    bool norm;

    static int64_t width(int64_t H, bool norm) { return 7 * H + (norm ? 5 * H + 2 : 0); }
    static int64_t size(int64_t H, bool norm, int64_t steps) { return steps * width(H, norm) + 2 * H; }
    V* h(int64_t t) const { return base + (t + 1) * width(H, norm); }
    V* c(int64_t t) const { return h(t) + H; }
    V* gates(int64_t t) const { return base + t * width(H, norm) + 2 * H; }
    V* read(int64_t t) const { return gates(t) + 4 * H; }
    V* normalised(int64_t t) const { return gates(t) + 5 * H; }
    V* inverse_deviation(int64_t t) const { return gates(t) + 9 * H; }
    V* normalised_cell(int64_t t) const { return gates(t) + 9 * H + 1; }
    V* cell_inverse_deviation(int64_t t) const { return gates(t) + 10 * H + 1; }
};

template <class T> struct LSTMForward {
    using V = Vec<T>;
    const Block<T> block;
    const LSTMCall& call;
    const int64_t H;
    const bool norm;
    const T* W;
    const T* gain;
    const T* bias;
    const T* cell_gain;
    const T* cell_bias;
    LSTMSaved<T> saved;
    V* recurrent;  // (4H): W h
    V* z;          // (4H)
    V* h_final;    // (H)
    V* c_final;    // (H)

    static int64_t scratch_width(const LSTMCall& c) {
        // Without a backward pass, one record of LSTMSaved is used over and over.
        return 10 * c.hidden + LSTMSaved<T>::size(c.hidden, c.hh_weight != nullptr, 1);
    }

    LSTMForward(const LSTMCall& c, int64_t index, V* scratch)
        : block(c, index), call(c), H(c.hidden), norm(c.hh_weight != nullptr),
          W(part_of<T>(c.packed, block.member, 4 * H * H)), gain(part_of<T>(c.hh_weight, block.member, 4 * H)),
          bias(part_of<T>(c.hh_bias, block.member, 4 * H)), cell_gain(part_of<T>(c.cell_weight, block.member, H)),
          cell_bias(part_of<T>(c.cell_bias, block.member, H)), saved{scratch + 10 * H, H, norm}, recurrent(scratch),
          z(recurrent + 4 * H), h_final(z + 4 * H), c_final(h_final + H) {
        if (c.saved) saved.base = static_cast<V*>(c.saved) + index * LSTMSaved<T>::size(H, norm, c.steps);
    }

    void run() {
        clear(saved.h(-1), 2 * H);
        if (call.h0) gather<T>(block.rows(call.h0, H), H, saved.h(-1));
        if (call.c0) gather<T>(block.rows(call.c0, H), H, saved.c(-1));
        for (int64_t t = 0; t < call.steps; ++t) {
            if (call.saved || t == 0) {
                step(t, t);
            } else {
                copy(saved.h(0), 2 * H, saved.h(-1));
                step(t, 0);
            }
        }
        block.write(h_final, H, call.h_final, H);
        block.write(c_final, H, call.c_final, H);
    }

    void step(int64_t t, int64_t slot) {
        if (t > 0 || call.h0)
            shared_product<T, false>(W, 4 * H, H, saved.h(slot - 1), recurrent);
        else
            clear(recurrent, 4 * H);
        if (norm) {
            V* normalised = saved.normalised(slot);
            *saved.inverse_deviation(slot) = normalise<T>(recurrent, 4 * H, T(call.norm_epsilon), normalised);
            for (int64_t i = 0; i < 4 * H; ++i) recurrent[i] = normalised[i] * gain[i] + bias[i];
        }
        gather<T>(block.rows(call.z, call.steps * 4 * H, t * 4 * H), 4 * H, z);
        V* gates = saved.gates(slot);
        for (int64_t i = 0; i < 4 * H; ++i) {
            const V sum = z[i] + recurrent[i];
            const bool candidate = i >= 2 * H && i < 3 * H;
            gates[i] = candidate ? hyperbolic_tangent<T>(sum) : sigmoid<T>(sum);
        }
        V* c = saved.c(slot);
        for (int64_t i = 0; i < H; ++i) c[i] = gates[H + i] * saved.c(slot - 1)[i] + gates[i] * gates[2 * H + i];
        V* read = saved.read(slot);
        copy(c, H, read);
        if (norm) {
            V* normalised = saved.normalised_cell(slot);
            *saved.cell_inverse_deviation(slot) = normalise<T>(c, H, T(call.norm_epsilon), normalised);
            for (int64_t i = 0; i < H; ++i) read[i] = normalised[i] * cell_gain[i] + cell_bias[i];
        }
        for (int64_t i = 0; i < H; ++i) {
            read[i] = hyperbolic_tangent<T>(read[i]);
            saved.h(slot)[i] = gates[3 * H + i] * read[i];
        }
        store(t, slot);
    }

    // Past the end of a sequence outputs are zero, and the final state is that of its last step.
    void store(int64_t t, int64_t slot) {
        const auto counts = T(t) < block.length;
        V *h = saved.h(slot), *c = saved.c(slot);
        for (int64_t i = 0; i < H; ++i) {
            h_final[i] = counts ? h[i] : h_final[i];
            c_final[i] = counts ? c[i] : c_final[i];
            h[i] = counts ? h[i] : V{};
            c[i] = counts ? c[i] : V{};
        }
        block.write(h, H, call.out, call.steps * H, t * H);
    }
};

template <class T> struct LSTMBackward {
    using V = Vec<T>;
    const Block<T> block;
    const LSTMCall& call;
    const int64_t H;
    const bool norm;
    const T* W_transposed;
    const T* gain;
    const T* cell_gain;
    const LSTMSaved<T> saved;
    V* d_h;          // (H): from the step after
    V* d_c;          // (H): from the step after
    V* d_h_final;    // (H)
    V* d_c_final;    // (H)
    V* d_out;        // (H)
    V* d_cell;       // (H)
    V* d_gain;       // (4H)
    V* d_bias;       // (4H)
    V* d_cell_gain;  // (H)
    V* d_cell_bias;  // (H)
    V* d_recurrent;  // (T, 4H): in the call

    static int64_t scratch_width(const LSTMCall& c) { return 16 * c.hidden; }

    LSTMBackward(const LSTMCall& c, int64_t index, V* scratch)
        : block(c, index), call(c), H(c.hidden), norm(c.hh_weight != nullptr),
          W_transposed(part_of<T>(c.packed, block.member, 4 * H * H)),
          gain(part_of<T>(c.hh_weight, block.member, 4 * H)), cell_gain(part_of<T>(c.cell_weight, block.member, H)),
          saved{static_cast<V*>(c.saved) + index * LSTMSaved<T>::size(H, norm, c.steps), H, norm}, d_h(scratch),
          d_c(d_h + H), d_h_final(d_c + H), d_c_final(d_h_final + H), d_out(d_c_final + H), d_cell(d_out + H),
          d_gain(d_cell + H), d_bias(d_gain + 4 * H), d_cell_gain(d_bias + 4 * H), d_cell_bias(d_cell_gain + H),
          d_recurrent(static_cast<V*>(c.d_recurrent) + index * c.steps * 4 * H) {}

    void run() {
        clear(d_h, 16 * H);  // all of the scratch
        if (call.d_h_final) gather<T>(block.rows(call.d_h_final, H), H, d_h_final);
        if (call.d_c_final) gather<T>(block.rows(call.d_c_final, H), H, d_c_final);
        for (int64_t t = call.steps - 1; t >= 0; --t) step(t);
        if (call.d_h0) block.write(d_h, H, call.d_h0, H);
        if (call.d_c0) block.write(d_c, H, call.d_c0, H);
        if (norm) {
            write_share<T>(d_gain, d_bias, 4 * H, static_cast<T*>(call.d_norm) + block.index * 8 * H);
            write_share<T>(d_cell_gain, d_cell_bias, H, static_cast<T*>(call.d_cell_norm) + block.index * 2 * H);
        }
    }

    void step(int64_t t) {
        upstream(t);
        const V *gates = saved.gates(t), *read = saved.read(t);
        for (int64_t i = 0; i < H; ++i) d_cell[i] = d_h[i] * gates[3 * H + i] * (T(1) - read[i] * read[i]);
        if (norm)
            backward_normalise<T>(saved.normalised_cell(t), *saved.cell_inverse_deviation(t), cell_gain, H, d_cell,
                                  d_cell_gain, d_cell_bias);
        V* d = d_recurrent + t * 4 * H;
        for (int64_t k = 0; k < H; ++k) {
            const V i = gates[k], f = gates[H + k], g = gates[2 * H + k], o = gates[3 * H + k];
            const V d_new = d_c[k] + d_cell[k];
            d[k] = d_new * g * i * (T(1) - i);
            d[H + k] = d_new * saved.c(t - 1)[k] * f * (T(1) - f);
            d[2 * H + k] = d_new * i * (T(1) - g * g);
            d[3 * H + k] = d_h[k] * read[k] * o * (T(1) - o);
            d_c[k] = d_new * f;
        }
        block.write(d, 4 * H, call.d_z, call.steps * 4 * H, t * 4 * H);
        if (norm)
            backward_normalise<T>(saved.normalised(t), *saved.inverse_deviation(t), gain, 4 * H, d, d_gain, d_bias);
        if (t > 0 || call.d_h0) shared_product<T, false>(W_transposed, H, 4 * H, d, d_h);
    }

    // Adds what reaches step t from outside; past the end of a sequence, outputs and state are constants.
    void upstream(int64_t t) {
        if (call.d_out) gather<T>(block.rows(call.d_out, call.steps * H, t * H), H, d_out);
        const auto counts = T(t) < block.length;
        const auto last = T(t + 1) == block.length;
        for (int64_t i = 0; i < H; ++i) {
            d_h[i] = (counts ? d_h[i] + d_out[i] : V{}) + (last ? d_h_final[i] : V{});
            d_c[i] = (counts ? d_c[i] : V{}) + (last ? d_c_final[i] : V{});
        }
    }
};

}  // namespace FW_VARIANT
}  // namespace fw
