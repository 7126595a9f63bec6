#include "plan/finish_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"
#include "plan/testing/plan_of.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

absl::Time At(int second) { return absl::FromUnixSeconds(1000 + second); }

TEST(FinishImageTest, LayersStandOnThoseOfTheBase) {
  const absl::StatusOr<Plan> plan =
      PlanOf("FROM alpine AS a\nRUN other\nFROM alpine\nRUN x\nCOPY --from=a /a /a\n");
  ASSERT_OK(plan);
  const std::vector<StepLayer> layers = {
      {Digest(), At(0)},
      {*Digest::FromHex(std::string(64, '1'), 1), At(1)},
      {*Digest::FromHex(std::string(64, '2'), 1), At(2)},
  };
  EXPECT_THAT(StepsOf(*plan, plan->result), ElementsAre(1, 2));
  EXPECT_EQ(BaseOf(*plan, plan->result), 0);
  const ImageConfig config = FinishImageConfig(*plan, layers);
  EXPECT_THAT(config.diff_ids, ElementsAre(absl::StrCat("sha256:", std::string(64, '0')),
                                           absl::StrCat("sha256:", std::string(64, '1')),
                                           absl::StrCat("sha256:", std::string(64, '2'))));
  EXPECT_EQ(config.created, At(2));
}

TEST(FinishImageTest, MetadataLinesGetTheTimeOfALayerNearby) {
  ImageConfig base = OneLayer();
  base.history.push_back({.created = At(-100), .created_by = "base"});
  const absl::StatusOr<Plan> plan =
      PlanOf("FROM alpine\nENV A=1\nRUN x\nENV B=1\nRUN y\nENV C=1\n", {}, base);
  ASSERT_OK(plan);
  const ImageConfig config = FinishImageConfig(*plan, {{Digest(), At(1)}, {Digest(), At(2)}});
  std::vector<absl::Time> times;
  for (const HistoryEntry& entry : config.history) times.push_back(*entry.created);
  EXPECT_THAT(times, ElementsAre(At(-100), At(1), At(1), At(1), At(2), At(2)));
  EXPECT_EQ(config.history[2].comment, "buildkit.dockerfile.v0");
  EXPECT_FALSE(config.history[2].empty_layer);
  EXPECT_TRUE(config.history[3].empty_layer);
}

TEST(FinishImageTest, SourceDateEpochClampsAllTimes) {
  PlanOptions options;
  options.build_args["SOURCE_DATE_EPOCH"] = "1001";
  ImageConfig base = OneLayer();
  base.history.push_back({.created = At(-100), .created_by = "base"});
  const absl::StatusOr<Plan> plan = PlanOf("FROM alpine\nRUN x\nRUN y\n", options, base);
  ASSERT_OK(plan);
  EXPECT_THAT(plan->warnings, IsEmpty());
  const ImageConfig config = FinishImageConfig(*plan, {{Digest(), At(1)}, {Digest(), At(2)}});
  EXPECT_EQ(config.created, At(1));
  EXPECT_EQ(config.history[0].created, At(-100));
  EXPECT_EQ(config.history[1].created, At(1));
  EXPECT_EQ(config.history[2].created, At(1));
}

TEST(FinishImageTest, WithoutLayersTheBaseTellsTheTime) {
  ImageConfig base = OneLayer();
  base.history.push_back({.created = At(-100), .created_by = "base"});
  const absl::StatusOr<Plan> plan = PlanOf("FROM alpine\nENV A=1\n", {}, base);
  ASSERT_OK(plan);
  const ImageConfig config = FinishImageConfig(*plan, {});
  EXPECT_EQ(config.created, At(-100));
  EXPECT_EQ(config.history.back().created, At(-100));
}

TEST(FinishImageTest, EachLayerOfABaseWithoutHistoryGetsALine) {
  const absl::StatusOr<Plan> plan = PlanOf("FROM alpine\nENV A=1\nRUN x\n");
  ASSERT_OK(plan);
  const ImageConfig config = FinishImageConfig(*plan, {{Digest(), At(1)}});
  ASSERT_EQ(config.diff_ids.size(), 2u);
  ASSERT_EQ(config.history.size(), 3u);
  EXPECT_EQ(config.history[1].created_by, "RUN /bin/sh -c x # buildkit");
  EXPECT_EQ(config.history[2].created_by, "");
  EXPECT_EQ(config.history[2].comment, "buildkit.exporter.image.v0");
  EXPECT_FALSE(config.history[2].empty_layer);
}

TEST(FinishImageTest, ScratchWithoutLayersHasNoTime) {
  const absl::StatusOr<Plan> plan = PlanOf("FROM scratch\nENV A=1\n");
  ASSERT_OK(plan);
  EXPECT_EQ(BaseOf(*plan, plan->result), -1);
  EXPECT_EQ(FinishImageConfig(*plan, {}).created, std::nullopt);
}

}  // namespace
}  // namespace farm
