#include "layer/twin_sha256.h"

// The calls that show their state, which the newer ones hide. Both run the same code inside.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <algorithm>
#include <cstdint>

#include "base/check.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace farm {
namespace {

constexpr size_t kBlockBytes = SHA256_CBLOCK;

#if defined(__x86_64__)

// FIPS 180-4, 4.2.2.
alignas(16) constexpr uint32_t kRoundConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

bool HasShaInstructions() {
  unsigned int a, b, c, d;
  const bool sse41 = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_SSE4_1) != 0;
  return sse41 && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & (1u << 29)) != 0;
}

#define FARM_SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))

// Working variables in the order that sha256rnds2 wants them.
struct Registers {
  __m128i abef;
  __m128i cdgh;
};

FARM_SHA_TARGET inline Registers Load(const uint32_t* h) {
  const __m128i dcba = _mm_loadu_si128(reinterpret_cast<const __m128i*>(h));
  const __m128i hgfe = _mm_loadu_si128(reinterpret_cast<const __m128i*>(h + 4));
  const __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
  const __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
  return {_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xf0)};
}

FARM_SHA_TARGET inline void Store(const Registers& state, uint32_t* h) {
  const __m128i feba = _mm_shuffle_epi32(state.abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(state.cdgh, 0xb1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(h), _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

FARM_SHA_TARGET inline void FourRounds(__m128i words, Registers& state) {
  state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, words);
  state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32(words, 0x0e));
}

// The compression function on two states and the same blocks. The message schedule is shared, and
// the rounds of one fill the time that the rounds of the other take to finish.
FARM_SHA_TARGET void CompressBoth(uint32_t* h1, uint32_t* h2, const char* data, size_t blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  Registers first = Load(h1);
  Registers second = Load(h2);
  for (; blocks > 0; --blocks, data += kBlockBytes) {
    const Registers first_before = first;
    const Registers second_before = second;
    __m128i w[4];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      __m128i& next = w[i & 3];
      if (i < 4) {
        next = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data + 16 * i)),
                                big_endian);
      } else {
        const __m128i& last = w[(i + 3) & 3];
        next = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(next, w[(i + 1) & 3]),
                                                  _mm_alignr_epi8(last, w[(i + 2) & 3], 4)),
                                    last);
      }
      const __m128i words = _mm_add_epi32(
          next, _mm_load_si128(reinterpret_cast<const __m128i*>(kRoundConstants + 4 * i)));
      FourRounds(words, first);
      FourRounds(words, second);
    }
    first.abef = _mm_add_epi32(first.abef, first_before.abef);
    first.cdgh = _mm_add_epi32(first.cdgh, first_before.cdgh);
    second.abef = _mm_add_epi32(second.abef, second_before.abef);
    second.cdgh = _mm_add_epi32(second.cdgh, second_before.cdgh);
  }
  Store(first, h1);
  Store(second, h2);
}

#else

bool HasShaInstructions() { return false; }
void CompressBoth(uint32_t*, uint32_t*, const char*, size_t) {}

#endif

void AddToLength(size_t bytes, SHA256_CTX* context) {
  const uint64_t bits = (uint64_t{context->Nh} << 32 | context->Nl) + uint64_t{bytes} * 8;
  context->Nl = static_cast<SHA_LONG>(bits);
  context->Nh = static_cast<SHA_LONG>(bits >> 32);
}

}  // namespace

struct TwinSha256::Impl {
  Impl() { FARM_CHECK(SHA256_Init(&context) == 1); }

  void Update(absl::string_view bytes) {
    FARM_CHECK(SHA256_Update(&context, bytes.data(), bytes.size()) == 1);
    size_bytes += static_cast<int64_t>(bytes.size());
  }

  SHA256_CTX context;
  int64_t size_bytes = 0;
};

TwinSha256::TwinSha256() : impl_(std::make_unique<Impl>()) {}
TwinSha256::~TwinSha256() = default;

void TwinSha256::Update(absl::string_view bytes) { impl_->Update(bytes); }

void TwinSha256::UpdateBoth(TwinSha256& a, TwinSha256& b, absl::string_view bytes) {
  static const bool has_sha_instructions = HasShaInstructions();
  const auto update_each = [&](absl::string_view part) {
    a.impl_->Update(part);
    b.impl_->Update(part);
  };
  SHA256_CTX& first = a.impl_->context;
  SHA256_CTX& second = b.impl_->context;
  if (!has_sha_instructions || first.num != second.num) return update_each(bytes);
  if (first.num != 0) {
    const size_t rest = std::min(bytes.size(), kBlockBytes - first.num);
    update_each(bytes.substr(0, rest));
    bytes.remove_prefix(rest);
  }
  const size_t whole = bytes.size() / kBlockBytes * kBlockBytes;
  if (whole > 0) {
    CompressBoth(first.h, second.h, bytes.data(), whole / kBlockBytes);
    AddToLength(whole, &first);
    AddToLength(whole, &second);
    a.impl_->size_bytes += static_cast<int64_t>(whole);
    b.impl_->size_bytes += static_cast<int64_t>(whole);
  }
  update_each(bytes.substr(whole));
}

Digest TwinSha256::Finish() {
  Digest::Hash hash;
  FARM_CHECK(SHA256_Final(hash.data(), &impl_->context) == 1);
  const Digest digest(hash, impl_->size_bytes);
  *impl_ = Impl();
  return digest;
}

}  // namespace farm
