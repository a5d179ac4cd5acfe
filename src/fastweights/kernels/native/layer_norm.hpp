// Layer norm over the units of each lane, and its gradient.
#pragma once

#include "lanes.hpp"

namespace fw {
namespace FW_VARIANT {

// normalised = (x − mean) / σ over `size` units; returns 1/σ, with epsilon added to the variance.
template <class T> inline Vec<T> normalise(const Vec<T>* x, int64_t size, T epsilon, Vec<T>* normalised) {
    const Vec<T> mean = sum_over<T>(size, [&](int64_t i) { return x[i]; }) / T(size);
    const Vec<T> squares = sum_over<T>(size, [&](int64_t i) { return (x[i] - mean) * (x[i] - mean); });
    const Vec<T> inverse = T(1) / square_root<T>(squares / T(size) + epsilon);
    for (int64_t i = 0; i < size; ++i) normalised[i] = (x[i] - mean) * inverse;
    return inverse;
}

// In place: the gradient d of normalised · gain + bias → the gradient of x. Adds to the gradients of gain and bias.
template <class T>
inline void backward_normalise(const Vec<T>* normalised, Vec<T> inverse, const T* gain, int64_t size, Vec<T>* d,
                               Vec<T>* d_gain, Vec<T>* d_bias) {
    for (int64_t i = 0; i < size; ++i) {
        d_gain[i] += d[i] * normalised[i];
        d_bias[i] += d[i];
        d[i] *= gain[i];
    }
    const Vec<T> mean = sum_over<T>(size, [&](int64_t i) { return d[i]; }) / T(size);
    const Vec<T> along = sum_over<T>(size, [&](int64_t i) { return d[i] * normalised[i]; }) / T(size);
    for (int64_t i = 0; i < size; ++i) d[i] = inverse * (d[i] - mean - normalised[i] * along);
}

}  // namespace FW_VARIANT
}  // namespace fw
