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
