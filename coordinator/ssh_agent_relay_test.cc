#include "coordinator/ssh_agent_relay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SshAgentRelayTest : public ::testing::Test {
 protected:
  // A step's question; its answer will stand under its text.
  void Ask(const std::string& question) {
    relay_.Ask(
        "default", question, [this, question] { return !ended_.contains(question); },
        [this, question](absl::StatusOr<std::string> answer) {
          EXPECT_FALSE(answers_.contains(question)) << "answered twice";
          answers_[question] = answer.ok() ? *answer : std::string(answer.status().message());
        });
  }
  // A client's call; what it returns, in order.
  void Poll(int64_t number = 0, const std::string& answer = "") {
    v1::AnswerSshAgentRequest request;
    request.set_number(number);
    request.set_answer(answer);
    relay_.Poll(request, [this](absl::StatusOr<v1::AnswerSshAgentResponse> response) {
      polls_.push_back(
          !response.ok() ? std::string(absl::StatusCodeToString(response.status().code()))
          : response->number() == 0 ? "nothing"
                                    : absl::StrCat(response->number(), " ", response->agent(), " ",
                                                   response->question()));
    });
  }

  FakeClock clock_;
  std::set<std::string> ended_;
  std::map<std::string, std::string> answers_;
  std::vector<std::string> polls_;
  SshAgentRelay relay_{{"default"}, clock_};
};

TEST_F(SshAgentRelayTest, AQuestionWaitsForTheClientAndGetsItsAnswer) {
  Ask("list");
  EXPECT_THAT(answers_, IsEmpty());
  Poll();
  EXPECT_THAT(polls_, ElementsAre("1 default list"));
  Poll(1, "keys");
  EXPECT_EQ(answers_["list"], "keys");
  EXPECT_THAT(polls_, ElementsAre("1 default list")) << "the second poll waits";
}

TEST_F(SshAgentRelayTest, AClientThatWaitsIsAskedAtOnce) {
  Poll();
  EXPECT_THAT(polls_, IsEmpty());
  Ask("list");
  EXPECT_THAT(polls_, ElementsAre("1 default list"));
}

TEST_F(SshAgentRelayTest, QuestionsAreAskedOneAfterTheOther) {
  Ask("a");
  Ask("b");
  Poll();
  Poll(1, "of a");
  EXPECT_THAT(polls_, ElementsAre("1 default a", "2 default b"));
  EXPECT_EQ(answers_["a"], "of a");
}

TEST_F(SshAgentRelayTest, AQuestionThatGotLostIsAskedAgain) {
  Ask("a");
  Poll();
  Poll();
  EXPECT_THAT(polls_, ElementsAre("1 default a", "1 default a"));
}

TEST_F(SshAgentRelayTest, AnAnswerThatIsRepeatedOrToNothingIsDropped) {
  Ask("a");
  Poll();
  Poll(1, "of a");
  Poll(1, "of a");
  Poll(7, "of nothing");
  Ask("b");
  EXPECT_THAT(polls_, ElementsAre("1 default a", "nothing", "nothing", "2 default b"));
  EXPECT_FALSE(answers_.contains("b"));
}

TEST_F(SshAgentRelayTest, AQuestionThatNobodyAnswersIsGivenUp) {
  Ask("a");
  clock_.Advance(SshAgentRelay::kAnswerMax / 2);
  Ask("b");
  clock_.Advance(SshAgentRelay::kAnswerMax / 2 + absl::Seconds(1));
  relay_.OnTick();
  EXPECT_THAT(answers_["a"], HasSubstr("did not answer in time"));
  EXPECT_FALSE(answers_.contains("b"));
}

TEST_F(SshAgentRelayTest, TheTimeOfAQuestionBeginsWhenItIsItsTurn) {
  Ask("a");
  Ask("b");
  Poll();
  clock_.Advance(SshAgentRelay::kAnswerMax * 0.9);
  Poll(1, "of a");
  clock_.Advance(SshAgentRelay::kAnswerMax * 0.9);
  relay_.OnTick();
  Poll(2, "of b");
  EXPECT_EQ(answers_["b"], "of b");
}

TEST_F(SshAgentRelayTest, AStepThatHasEndedIsNotAskedFor) {
  Ask("a");
  Ask("b");
  ended_.insert("a");
  Poll();
  EXPECT_THAT(answers_["a"], HasSubstr("the step has ended"));
  EXPECT_THAT(polls_, ElementsAre("2 default b"));
}

TEST_F(SshAgentRelayTest, AWaitingPollIsAnsweredInTime) {
  Poll();
  clock_.Advance(SshAgentRelay::kPollMax + absl::Seconds(1));
  relay_.OnTick();
  EXPECT_THAT(polls_, ElementsAre("nothing"));
}

TEST_F(SshAgentRelayTest, OneQuestionTooManyIsRefused) {
  for (size_t i = 0; i < SshAgentRelay::kQuestionsMax; ++i) Ask(absl::StrCat(i));
  EXPECT_THAT(answers_, IsEmpty());
  Ask("late");
  EXPECT_THAT(answers_["late"], HasSubstr("too many"));
}

TEST_F(SshAgentRelayTest, TheEndOfTheBuildAnswersAll) {
  Poll();
  relay_.Close();
  EXPECT_THAT(polls_, ElementsAre("NOT_FOUND"));
  Poll();
  EXPECT_THAT(polls_, ElementsAre("NOT_FOUND", "NOT_FOUND"));
  EXPECT_FALSE(relay_.Has("default"));
}

TEST_F(SshAgentRelayTest, WhatWaitsAtTheEndOfTheBuildIsToldSo) {
  Ask("a");
  relay_.Close();
  EXPECT_THAT(answers_["a"], HasSubstr("the build is over"));
}

TEST_F(SshAgentRelayTest, OnlyTheClientsAgentsAreThere) {
  EXPECT_TRUE(relay_.Has("default"));
  EXPECT_FALSE(relay_.Has("other"));
}

}  // namespace
}  // namespace farm
