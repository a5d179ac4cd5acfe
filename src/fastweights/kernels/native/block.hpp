// Which sequences a block holds and where they lie, for any recurrence.
#pragma once

#include "lanes.hpp"

namespace fw {
namespace FW_VARIANT {

template <class V> inline void clear(V* x, int64_t size) {
    for (int64_t i = 0; i < size; ++i) x[i] = V{};
}
template <class V> inline void copy(const V* from, int64_t size, V* to) {
    for (int64_t i = 0; i < size; ++i) to[i] = from[i];
}

// Up to kLanes sequences of one member of a population.
template <class T> struct Block {
    using V = Vec<T>;

    int64_t index, member, first;  // first sequence, counted over all members
    int count;
    V length;  // steps that count, in each lane

    template <class Call> Block(const Call& call, int64_t block) : index(block) {
        const int64_t blocks = (call.batch + kLanes<T> - 1) / kLanes<T>;
        const int64_t begin = block % blocks * kLanes<T>, left = call.batch - begin;
        member = block / blocks;
        first = member * call.batch + begin;
        count = left < kLanes<T> ? int(left) : kLanes<T>;
        for (int lane = 0; lane < kLanes<T>; ++lane)
            length[lane] = T(call.lengths && lane < count ? call.lengths[first + lane] : call.steps);
    }

    // Numbers [begin, …) of each of the block's sequences, in a tensor with `width` numbers for each.
    Rows<T> rows(const void* tensor, int64_t width, int64_t begin = 0) const {
        return {static_cast<const T*>(tensor) + first * width + begin, width, count};
    }
    void write(const V* lanes, int64_t size, void* tensor, int64_t width, int64_t begin = 0) const {
        scatter<T>(lanes, size, static_cast<T*>(tensor) + first * width + begin, width, count);
    }
};

// A member's part of a tensor of `width` numbers for each, or null.
template <class T> inline const T* part_of(const void* tensor, int64_t member, int64_t width) {
    return tensor ? static_cast<const T*>(tensor) + member * width : nullptr;
}

// A block's share of the gradients of gain and bias.
template <class T> inline void write_share(const Vec<T>* d_gain, const Vec<T>* d_bias, int64_t size, T* share) {
    for (int64_t i = 0; i < size; ++i) {
        share[i] = sum_of_lanes<T>(d_gain[i]);
        share[size + i] = sum_of_lanes<T>(d_bias[i]);
    }
}

}  // namespace FW_VARIANT
}  // namespace fw
