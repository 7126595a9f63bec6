#include "layer/twin_sha256.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/sha256.h"

namespace farm {
namespace {

std::string RandomBytes(size_t size, std::mt19937& random) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST(TwinSha256Test, HashesOfTheSameBytesAreThoseOfEach) {
  std::mt19937 random(1);
  for (size_t size = 0; size < 400; ++size) {
    const std::string bytes = RandomBytes(size, random);
    TwinSha256 a;
    TwinSha256 b;
    TwinSha256::UpdateBoth(a, b, bytes);
    EXPECT_EQ(a.Finish(), DigestOf(bytes)) << size;
    EXPECT_EQ(b.Finish(), DigestOf(bytes)) << size;
  }
}

TEST(TwinSha256Test, HashesMayStandAnywhere) {
  std::mt19937 random(2);
  for (int run = 0; run < 500; ++run) {
    std::string expected_a;
    std::string expected_b;
    TwinSha256 a;
    TwinSha256 b;
    for (int part = 0; part < 6; ++part) {
      const std::string bytes = RandomBytes(random() % 300, random);
      switch (random() % 4) {
        case 0:
          a.Update(bytes);
          expected_a += bytes;
          break;
        case 1:
          b.Update(bytes);
          expected_b += bytes;
          break;
        default:
          TwinSha256::UpdateBoth(a, b, bytes);
          expected_a += bytes;
          expected_b += bytes;
      }
    }
    ASSERT_EQ(a.Finish(), DigestOf(expected_a)) << run;
    ASSERT_EQ(b.Finish(), DigestOf(expected_b)) << run;
  }
}

TEST(TwinSha256Test, StartsAnewAfterFinish) {
  TwinSha256 a;
  a.Update("x");
  EXPECT_EQ(a.Finish(), DigestOf("x"));
  EXPECT_EQ(a.Finish(), DigestOf(""));
}

// Lengths in bits beyond 32 bits: the carry is ours.
TEST(TwinSha256Test, CountsMoreThanHalfAGigabyte) {
  const std::string bytes(8 << 20, 'x');
  TwinSha256 a;
  TwinSha256 b;
  Sha256 expected;
  for (int i = 0; i < 66; ++i) {
    TwinSha256::UpdateBoth(a, b, bytes);
    expected.Update(bytes);
  }
  const Digest digest = expected.Finish();
  EXPECT_EQ(a.Finish(), digest);
  EXPECT_EQ(b.Finish(), digest);
}

}  // namespace
}  // namespace farm
