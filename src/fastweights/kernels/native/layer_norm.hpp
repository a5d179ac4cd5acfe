// Layer norm over the units of each lane, and its gradient.
#pragma once

#include "lanes.hpp"

namespace fw {
namespace FW_VARIANT {

// normalised = (x − mean) / σ over `size` units; returns 1/σ, with epsilon added to the variance.
template <class T> inline Vec<T> normalise(const Vec<T>* x, int64_t size, T epsilon, Vec<T>* normalised) {
    Vec<T> mean{}, variance{};
    for (int64_t i = 0; i < size; ++i) mean += x[i];
    mean /= T(size);
    for (int64_t i = 0; i < size; ++i) variance += (x[i] - mean) * (x[i] - mean);
    const Vec<T> inverse = T(1) / square_root<T>(variance / T(size) + epsilon);
    for (int64_t i = 0; i < size; ++i) normalised[i] = (x[i] - mean) * inverse;
    return inverse;
}

// In place: the gradient d of normalised · gain + bias → the gradient of x. Adds to the gradients of gain and bias.
template <class T>
inline void backward_normalise(const Vec<T>* normalised, Vec<T> inverse, const T* gain, int64_t size, Vec<T>* d,
                               Vec<T>* d_gain, Vec<T>* d_bias) {
    Vec<T> mean{}, along{};
    for (int64_t i = 0; i < size; ++i) {
        d_gain[i] += d[i] * normalised[i];
        d_bias[i] += d[i];
        d[i] *= gain[i];
        mean += d[i];
        along += d[i] * normalised[i];
    }
    mean /= T(size);
    along /= T(size);
    for (int64_t i = 0; i < size; ++i) d[i] = inverse * (d[i] - mean - normalised[i] * along);
}

}  // namespace FW_VARIANT
}  // namespace fw
