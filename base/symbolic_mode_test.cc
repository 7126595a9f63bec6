#include "base/symbolic_mode.h"

#include "base/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* text;
  uint32_t before;
  uint32_t after;
  bool is_directory = false;
};

class SymbolicModeTest : public testing::TestWithParam<Case> {};

TEST_P(SymbolicModeTest, Applies) {
  ASSERT_OK_AND_ASSIGN(const SymbolicMode mode, SymbolicMode::Parse(GetParam().text));
  EXPECT_EQ(mode.Apply(GetParam().before, GetParam().is_directory), GetParam().after)
      << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    All, SymbolicModeTest,
    testing::Values(Case{"u+x", 0644, 0744}, Case{"+x", 0644, 0755}, Case{"+w", 0444, 0644},
                    Case{"a+w", 0444, 0666}, Case{"go-rwx", 0777, 0700}, Case{"o=", 0777, 0770},
                    Case{"u=rw,g=r,o=", 0777, 0640}, Case{"g=u", 0750, 0770},
                    Case{"o+g", 0750, 0755}, Case{"u+s", 0755, 04755}, Case{"g+s", 0755, 02755},
                    Case{"ug+s", 0755, 06755}, Case{"+t", 0777, 01777}, Case{"o+t", 0777, 01777},
                    Case{"u-s", 04755, 0755}, Case{"u+x-w", 0644, 0544}, Case{"a=rX", 0600, 0444},
                    Case{"a=rX", 0700, 0555}, Case{"a+X", 0644, 0644},
                    Case{"a+X", 0644, 0755, true}, Case{"=r", 0777, 0466}));

TEST(SymbolicModeParseTest, WhatIsNoModeIsAnErrorThatShowsIt) {
  for (const char* text : {"", "u", "rwx", "u+x,", "u+q", "x+u", "u+x go-w", ",u+x", "9"}) {
    EXPECT_THAT(SymbolicMode::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("invalid mode")))
        << text;
  }
}

}  // namespace
}  // namespace farm
