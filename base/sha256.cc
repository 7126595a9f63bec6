#include "base/sha256.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace farm {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// Fetched once: a lookup by name for each hash would cost more than a small hash itself.
const EVP_MD* Algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  FARM_CHECK(algorithm != nullptr) << "OpenSSL has no SHA256";
  return algorithm;
}

}  // namespace

struct Sha256::Impl {
  std::unique_ptr<EVP_MD_CTX, FreeContext> context{EVP_MD_CTX_new()};
  int64_t size_bytes = 0;
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  FARM_CHECK(EVP_DigestInit_ex2(impl_->context.get(), Algorithm(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Update(absl::string_view bytes) {
  FARM_CHECK(EVP_DigestUpdate(impl_->context.get(), bytes.data(), bytes.size()) == 1);
  impl_->size_bytes += static_cast<int64_t>(bytes.size());
}

Digest Sha256::Finish() {
  Digest::Hash hash;
  unsigned int size = 0;
  FARM_CHECK(EVP_DigestFinal_ex(impl_->context.get(), hash.data(), &size) == 1);
  FARM_CHECK_EQ(size, hash.size());
  const int64_t size_bytes = std::exchange(impl_->size_bytes, 0);
  FARM_CHECK(EVP_DigestInit_ex2(impl_->context.get(), Algorithm(), nullptr) == 1);
  return Digest(hash, size_bytes);
}

Digest DigestOf(absl::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

}  // namespace farm
