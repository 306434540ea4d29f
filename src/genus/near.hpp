// What the passes over numbers of 16 bits share: registers of sixteen, and room that is kept from call to call.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstdlib>

namespace {

using bf16 = uint16_t;

inline __m512 number(const bf16* x) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

inline void put(bf16* y, __m512 v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), (__m256i)_mm512_cvtneps_pbh(v));
}

// Sixteen rows of sixteen fours of bytes, `stride` bytes apart, turned.
inline void turned16(const void* x, int64_t stride, int32_t* to) {
    __m512i r[16], t[16];
    for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(static_cast<const char*>(x) + i * stride);
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; ++j) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        _mm512_storeu_si512(to + 16 * i, _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88));
        _mm512_storeu_si512(to + 16 * (i + 4), _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88));
        _mm512_storeu_si512(to + 16 * (i + 8), _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd));
        _mm512_storeu_si512(to + 16 * (i + 12), _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd));
    }
}

// Not cleared, and not given back before its thread ends: pages that are new each time cost more than what is done in them.
class Room {
  public:
    ~Room() { std::free(at_); }
    template <typename T>
    T* of(int64_t count) {
        const int64_t size = (count * int64_t(sizeof(T)) + 63) / 64 * 64;
        if (size > size_) {
            std::free(at_);
            at_ = std::aligned_alloc(64, size_ = size);
            if (at_ == nullptr) std::abort();
        }
        return static_cast<T*>(at_);
    }

  private:
    void* at_ = nullptr;
    int64_t size_ = 0;
};

}  // namespace
