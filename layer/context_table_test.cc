#include "layer/context_table.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

absl::Status Check(TableEntry entry) {
  return CheckContextTable(*Table::FromEntries({std::move(entry)}));
}

TableEntry Directory() {
  TableEntry entry;
  entry.path = "d";
  entry.type = EntryType::kDirectory;
  entry.mode = 0755;
  return entry;
}

auto IsRefused(const std::string& why) {
  return StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("\"d\""), HasSubstr(why)));
}

TEST(CheckContextTableTest, XattrsOfLayersAreTakenAndOthersRefused) {
  TableEntry entry = Directory();
  entry.xattrs["user.note"] = "x";
  EXPECT_OK(Check(entry));
  entry.xattrs["trusted.overlay.opaque"] = "y";
  EXPECT_THAT(Check(entry), IsRefused("trusted.overlay.opaque"));
}

TEST(CheckContextTableTest, WhatOnlyLayersMeanIsRefused) {
  TableEntry opaque = Directory();
  opaque.opaque = true;
  EXPECT_THAT(Check(opaque), IsRefused("opaque"));
  TableEntry whiteout;
  whiteout.path = "d";
  whiteout.type = EntryType::kWhiteout;
  EXPECT_THAT(Check(whiteout), IsRefused("whiteout"));
}

}  // namespace
}  // namespace farm
