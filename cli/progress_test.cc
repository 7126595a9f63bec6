#include "cli/progress.h"

#include <atomic>
#include <cstdlib>
#include <sstream>

#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cli/failure_report.h"
#include "cli/follow_build.h"
#include "cli/plain_progress.h"
#include "cli/testing/fake_farm_client.h"
#include "cli/tty_progress.h"
#include "cli/waiting_notice.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kDockerfile[] =
    "FROM alpine AS build\n"
    "WORKDIR /src\n"
    "COPY . .\n"
    "RUN make \\\n"
    "    all\n"
    "CMD [\"/src/app\"]\n";

// Builds events as a farm sends them, in order.
class Events {
 public:
  v1::BuildEvent Next() {
    v1::BuildEvent event;
    event.set_sequence(++sequence_);
    event.mutable_time()->set_seconds(1'700'000'000 + milliseconds_ / 1000);
    event.mutable_time()->set_nanos(milliseconds_ % 1000 * 1'000'000);
    return event;
  }
  void Advance(int milliseconds) { milliseconds_ += milliseconds; }

  v1::BuildEvent Started(const std::string& id) {
    v1::BuildEvent event = Next();
    event.mutable_started()->set_build_id(id);
    return event;
  }
  v1::BuildEvent Planned(const std::vector<std::string>& names, int first_line) {
    v1::BuildEvent event = Next();
    int id = 0;
    for (const std::string& name : names) {
      v1::PlannedStep& step = *event.mutable_planned()->add_steps();
      step.set_id(++id);
      step.set_name(name);
      step.set_line(first_line++);
    }
    return event;
  }
  v1::BuildEvent Begin(int id, const std::string& phase = "running") {
    v1::BuildEvent event = Next();
    event.mutable_step_started()->set_id(id);
    event.mutable_step_started()->set_phase(phase);
    return event;
  }
  v1::BuildEvent Log(int id, const std::string& bytes) {
    v1::BuildEvent event = Next();
    event.mutable_log()->set_id(id);
    event.mutable_log()->set_bytes(bytes);
    return event;
  }
  v1::BuildEvent End(int id, v1::StepFinished::Outcome outcome, int milliseconds = 0) {
    v1::BuildEvent event = Next();
    event.mutable_step_finished()->set_id(id);
    event.mutable_step_finished()->set_outcome(outcome);
    event.mutable_step_finished()->mutable_duration()->set_nanos(milliseconds * 1'000'000);
    return event;
  }
  v1::BuildEvent Fail(int id, const std::string& message) {
    v1::BuildEvent event = End(id, v1::StepFinished::OUTCOME_FAILED, 300);
    event.mutable_step_finished()->mutable_error()->set_message(message);
    return event;
  }
  v1::BuildEvent Finished(const std::string& error = "", int failed_step = 0) {
    v1::BuildEvent event = Next();
    if (!error.empty()) event.mutable_finished()->mutable_error()->set_message(error);
    event.mutable_finished()->set_failed_step(failed_step);
    return event;
  }

 private:
  int64_t sequence_ = 0;
  int64_t milliseconds_ = 0;
};

class ProgressTest : public ::testing::Test {
 protected:
  void PlayBuildThatSucceeds(Progress& progress) {
    const int task = progress.BeginTask("[internal] load build context");
    clock_.Advance(absl::Milliseconds(200));
    progress.UpdateTask(task, "20,000 files, 172MB");
    progress.EndTask(task, absl::OkStatus());
    progress.OnEvent(events_.Started("b1"));
    progress.OnEvent(events_.Planned(
        {"[build 1/3] FROM alpine", "[build 2/3] WORKDIR /src", "[build 3/3] RUN make all"}, 1));
    progress.OnEvent(events_.End(1, v1::StepFinished::OUTCOME_SKIPPED));
    progress.OnEvent(events_.End(2, v1::StepFinished::OUTCOME_CACHED));
    progress.OnEvent(events_.Begin(3, "waiting"));
    progress.OnEvent(events_.Begin(3));
    events_.Advance(123);
    progress.OnEvent(events_.Log(3, "cc -c main.c\nld "));
    progress.OnEvent(events_.Log(3, "-o app\n"));
    progress.OnEvent(events_.End(3, v1::StepFinished::OUTCOME_RAN, 300));
    progress.OnEvent(events_.Finished());
  }

  FakeClock clock_;
  Events events_;
  std::ostringstream out_;
};

// ---- a build that gets nowhere

class WaitingNoticeTest : public ProgressTest {
 protected:
  // Waits for a note, a second at most.
  bool IsTold() {
    for (int i = 0; i < 1000; ++i) {
      if (notes_ > 0) return true;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return false;
  }
  class Counting final : public Progress {
   public:
    explicit Counting(std::atomic<int>& notes) : notes_(notes) {}
    int BeginTask(absl::string_view) override { return 0; }
    void UpdateTask(int, absl::string_view) override {}
    void EndTask(int, const absl::Status&) override {}
    void OnEvent(const v1::BuildEvent&) override {}
    void Note(absl::string_view line) override {
      EXPECT_THAT(line, HasSubstr("waits for a worker"));
      ++notes_;
    }
    void Finish() override {}

   private:
    std::atomic<int>& notes_;
  };

  std::atomic<int> notes_ = 0;
  WaitingNotice progress_{std::make_unique<Counting>(notes_), clock_, absl::Milliseconds(1)};
};

TEST_F(WaitingNoticeTest, ABuildOfWhichEveryStepWaitsSaysSoOnce) {
  progress_.OnEvent(events_.Begin(1, "waiting"));
  clock_.Advance(WaitingNotice::kWaitMin - absl::Seconds(1));
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(notes_, 0);
  progress_.OnEvent(events_.Begin(2, "waiting"));
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(IsTold());
  clock_.Advance(absl::Hours(1));
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(notes_, 1);
}

TEST_F(WaitingNoticeTest, ABuildOfWhichAStepRunsSaysNothing) {
  progress_.OnEvent(events_.Begin(1, "waiting"));
  progress_.OnEvent(events_.Begin(2, "running"));
  clock_.Advance(absl::Hours(1));
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(notes_, 0);
  progress_.OnEvent(events_.End(2, v1::StepFinished::OUTCOME_RAN));
  clock_.Advance(absl::Hours(1));
  EXPECT_TRUE(IsTold());
}

TEST_F(ProgressTest, QuietTellsOfAWaitToo) {
  const auto progress = MakeProgress({.mode = ProgressMode::kQuiet}, out_, clock_);
  progress->OnEvent(events_.Begin(1, "waiting"));
  clock_.Advance(WaitingNotice::kWaitMin);
  absl::SleepFor(2 * WaitingNotice::kInterval);
  progress->Finish();
  EXPECT_THAT(out_.str(), HasSubstr("waits for a worker"));
}

// ---- plain

TEST_F(ProgressTest, PlainPrintsEachStepInBuildKitsForm) {
  PlainProgress progress({}, /*is_terminal=*/false, out_, clock_);
  PlayBuildThatSucceeds(progress);
  progress.Finish();
  EXPECT_EQ(out_.str(),
            "#1 [internal] load build context\n"
            "#1 20,000 files, 172MB\n"
            "#1 DONE 0.2s\n"
            "\n"
            "#2 [build 2/3] WORKDIR /src\n"
            "#2 CACHED\n"
            "\n"
            "#3 [build 3/3] RUN make all\n"
            "#3 0.123 cc -c main.c\n"
            "#3 0.123 ld -o app\n"
            "#3 DONE 0.3s\n"
            "\n");
}

TEST_F(ProgressTest, PlainSaysWhichStepGoesOnWhereTwoTakeTurns) {
  PlainProgress progress({}, /*is_terminal=*/false, out_, clock_);
  progress.OnEvent(events_.Planned({"a", "b"}, 1));
  progress.OnEvent(events_.Begin(1));
  progress.OnEvent(events_.Begin(2));
  progress.OnEvent(events_.Log(1, "from a\n"));
  progress.OnEvent(events_.End(2, v1::StepFinished::OUTCOME_RAN));
  progress.OnEvent(events_.End(1, v1::StepFinished::OUTCOME_SHARED));
  progress.Finish();
  EXPECT_EQ(out_.str(),
            "#1 a\n#1 ...\n\n"
            "#2 b\n#2 ...\n\n"
            "#1 a\n#1 0.000 from a\n#1 ...\n\n"
            "#2 b\n#2 DONE 0.0s\n\n"
            "#1 a\n#1 DONE 0.0s (ran for another build)\n\n");
}

TEST_F(ProgressTest, PlainShowsAnUnfinishedLineAtTheEndOfItsStep) {
  PlainProgress progress({}, /*is_terminal=*/false, out_, clock_);
  progress.OnEvent(events_.Planned({"a"}, 1));
  progress.OnEvent(events_.Begin(1));
  progress.OnEvent(events_.Log(1, "no line end"));
  EXPECT_THAT(out_.str(), Not(HasSubstr("no line end")));
  progress.OnEvent(events_.End(1, v1::StepFinished::OUTCOME_RAN));
  EXPECT_THAT(out_.str(), HasSubstr("#1 0.000 no line end\n#1 DONE"));
}

TEST_F(ProgressTest, PlainSaysWhyAStepRanAndWhatWasWarnedOf) {
  PlainProgress progress({.dockerfile_name = "app.Dockerfile", .dockerfile = "\n  FROM a as b\n"},
                         /*is_terminal=*/false, out_, clock_);
  progress.OnEvent(events_.Planned({"a"}, 1));
  v1::BuildEvent begin = events_.Begin(1);
  begin.mutable_step_started()->add_reasons("the command is new");
  progress.OnEvent(begin);
  v1::BuildEvent warning = events_.Next();
  warning.mutable_warning()->set_rule("FromAsCasing");
  warning.mutable_warning()->set_message("'as' and 'FROM' keywords' casing do not match");
  warning.mutable_warning()->set_line(2);
  progress.OnEvent(warning);
  EXPECT_THAT(out_.str(), HasSubstr("#1 because the command is new\n"));
  EXPECT_THAT(out_.str(), HasSubstr("WARNING: app.Dockerfile:2:3: FromAsCasing: 'as' and 'FROM' "
                                    "keywords' casing do not match\n"));
}

TEST_F(ProgressTest, PlainMakesOutputHarmlessOnATerminalOnly) {
  std::ostringstream raw;
  PlainProgress terminal({}, /*is_terminal=*/true, out_, clock_);
  PlainProgress file({}, /*is_terminal=*/false, raw, clock_);
  for (Progress* progress : {static_cast<Progress*>(&terminal), static_cast<Progress*>(&file)}) {
    progress->OnEvent(events_.Planned({"a"}, 1));
    progress->OnEvent(events_.Log(1, "\x1b[2Jgone?\n"));
  }
  EXPECT_THAT(out_.str(), HasSubstr(" gone?\n"));
  EXPECT_THAT(raw.str(), HasSubstr(" \x1b[2Jgone?\n"));
}

TEST_F(ProgressTest, WhatOthersWroteDrivesNoTerminal) {
  // Sets the title, then clears the screen.
  constexpr char kEvil[] = "evil\x1b]0;title\x07\x1b[2J";
  PlainProgress plain({.dockerfile_name = kEvil, .dockerfile = kDockerfile}, /*is_terminal=*/false,
                      out_, clock_);
  TtyProgress tty(
      {.dockerfile_name = kEvil, .dockerfile = kDockerfile, .explain = true, .terminal_fd = -1},
      out_, clock_);
  for (Progress* progress : {static_cast<Progress*>(&plain), static_cast<Progress*>(&tty)}) {
    Events events;
    progress->EndTask(progress->BeginTask(kEvil), absl::InternalError(kEvil));
    progress->OnEvent(events.Planned({kEvil}, 4));
    v1::BuildEvent begin = events.Begin(1);
    begin.mutable_step_started()->add_reasons(kEvil);
    progress->OnEvent(begin);
    v1::BuildEvent warning = events.Next();
    warning.mutable_warning()->set_rule(kEvil);
    warning.mutable_warning()->set_message(kEvil);
    progress->OnEvent(warning);
    progress->Note(kEvil);
    progress->OnEvent(events.Log(1, "output\n"));
    progress->OnEvent(events.Fail(1, kEvil));
    progress->OnEvent(events.Finished(kEvil, 1));
    progress->Finish();
  }
  EXPECT_THAT(out_.str(), HasSubstr("evil"));
  EXPECT_THAT(out_.str(), Not(HasSubstr("\x1b]")));
  EXPECT_THAT(out_.str(), Not(HasSubstr("\x1b[2J")));
}

// ---- what failed

TEST_F(ProgressTest, AFailureShowsOutputInstructionAndError) {
  PlainProgress progress({.dockerfile_name = "Dockerfile", .dockerfile = kDockerfile},
                         /*is_terminal=*/false, out_, clock_);
  progress.OnEvent(events_.Planned({"[build 1/4] FROM alpine", "[build 2/4] WORKDIR /src",
                                    "[build 3/4] COPY . .", "[build 4/4] RUN make     all"},
                                   1));
  progress.OnEvent(events_.Begin(4));
  events_.Advance(50);
  progress.OnEvent(events_.Log(4, "make: *** No rule\n"));
  progress.OnEvent(events_.Fail(4, "exit code: 2"));
  progress.OnEvent(events_.Finished("[build 4/4] RUN make     all: exit code: 2", 4));
  out_.str("");
  progress.Finish();
  EXPECT_EQ(out_.str(),
            "------\n"
            " > [build 4/4] RUN make     all:\n"
            "0.050 make: *** No rule\n"
            "------\n"
            "Dockerfile:4\n"
            "--------------------\n"
            "   3 |     COPY . .\n"
            "   4 | >>> RUN make \\\n"
            "   5 | >>>     all\n"
            "   6 |     CMD [\"/src/app\"]\n"
            "--------------------\n"
            "ERROR: [build 4/4] RUN make     all: exit code: 2\n");
}

TEST_F(ProgressTest, ADockerfileThatTheFarmFoundIsTheOneShown) {
  ProgressModel model(nullptr);
  v1::BuildEvent found;
  found.mutable_dockerfile_read()->set_text("FROM a\nWORKDIT /\n");
  model.Apply(found, clock_.Now());
  v1::BuildEvent event = events_.Finished("Dockerfile:2: unknown instruction: WORKDIT");
  event.mutable_finished()->mutable_error()->set_line(2);
  model.Apply(event, clock_.Now());
  EXPECT_THAT(FailureReport(model, "Dockerfile", "", false), HasSubstr("   2 | >>> WORKDIT /\n"));
}

TEST_F(ProgressTest, AnErrorOfTheDockerfileShowsItsLine) {
  ProgressModel model(nullptr);
  v1::BuildEvent event = events_.Finished("Dockerfile:2: unknown instruction: WORKDIT");
  event.mutable_finished()->mutable_error()->set_line(2);
  model.Apply(event, clock_.Now());
  EXPECT_THAT(FailureReport(model, "Dockerfile", "FROM a\nWORKDIT /\n", false),
              HasSubstr("   2 | >>> WORKDIT /\n"));
}

TEST_F(ProgressTest, ALongLineOfTheDockerfileIsShownClipped) {
  ProgressModel model(nullptr);
  v1::BuildEvent event = events_.Finished("Dockerfile:1: unknown instruction");
  event.mutable_finished()->mutable_error()->set_line(1);
  model.Apply(event, clock_.Now());
  // 999 bytes, and a character of two that the limit would cut.
  const std::string line = "x" + std::string(998, 'y') + "\xc3\xa9" + std::string(5000, 'z');
  const std::string report = FailureReport(model, "Dockerfile", line, false);
  EXPECT_THAT(report, HasSubstr("y [5002 bytes more]\n"));
  EXPECT_THAT(report.size(), ::testing::Lt(1200u));
}

TEST_F(ProgressTest, OnlyTheLastLinesOfAFailureAreShown) {
  ProgressModel model(nullptr);
  for (int i = 1; i <= 100; ++i) {
    model.Apply(events_.Log(1, "line " + std::to_string(i) + "\n"), clock_.Now());
  }
  model.Apply(events_.Fail(1, "exit code: 1"), clock_.Now());
  model.Apply(events_.Finished("failed", 1), clock_.Now());
  const std::string report = FailureReport(model, "", "", false);
  EXPECT_THAT(report, HasSubstr("line 100\n"));
  EXPECT_THAT(report, HasSubstr("line 81\n"));
  EXPECT_THAT(report, Not(HasSubstr("line 80\n")));
}

TEST_F(ProgressTest, ALineWithoutEndDoesNotGrowForEver) {
  ProgressModel model(nullptr);
  for (int i = 0; i < 1000; ++i) model.Apply(events_.Log(1, std::string(1000, 'x')), clock_.Now());
  ASSERT_THAT(model.begun(), SizeIs(1));
  for (const StepLogLine& line : model.begun()[0]->tail) EXPECT_LE(line.text.size(), 16u << 10);
}

// ---- tty

std::string WithoutColors(const std::vector<std::string>& lines) {
  std::string text = absl::StrJoin(lines, "\n") + "\n";
  for (size_t at; (at = text.find('\x1b')) != std::string::npos;) {
    text.erase(at, text.find('m', at) - at + 1);
  }
  return text;
}

TEST_F(ProgressTest, TheTerminalShowsWhatRunsWithItsOutput) {
  ProgressModel model(nullptr);
  const int task = model.BeginTask("[internal] load build context", clock_.Now());
  clock_.Advance(absl::Milliseconds(200));
  model.EndTask(task, absl::OkStatus(), clock_.Now());
  model.Apply(events_.Planned({"[build 2/3] WORKDIR /src", "[build 3/3] RUN make all", "last"}, 1),
              clock_.Now());
  model.Apply(events_.End(1, v1::StepFinished::OUTCOME_CACHED), clock_.Now());
  model.Apply(events_.Begin(2), clock_.Now());
  model.Apply(events_.Log(2, "cc -c a-file-with-a-rather-long-name.c\n"), clock_.Now());
  clock_.Advance(absl::Milliseconds(1500));
  EXPECT_EQ(
      WithoutColors(DrawBuild(model, "Building", {.columns = 42, .rows = 24}, clock_.Now(), false)),
      "[+] Building 1.7s (1/3)\n"
      " => [internal] load build context    0.2s\n"
      " => CACHED [build 2/3] WORKDIR /src  0.0s\n"
      " => [build 3/3] RUN make all         1.5s\n"
      " => => # cc -c a-file-with-a-rather-long…\n");
}

TEST_F(ProgressTest, TheTimeOfAStepNeverGoesBack) {
  ProgressModel model(nullptr);
  const auto shown = [&] {
    return DrawBuild(model, "Building", {.columns = 60, .rows = 10}, clock_.Now(), false).back();
  };
  model.Apply(events_.Planned({"a"}, 1), clock_.Now());
  model.Apply(events_.Begin(1, "waiting"), clock_.Now());
  clock_.Advance(absl::Seconds(10));
  EXPECT_THAT(shown(), AllOf(HasSubstr("a (waiting for a worker)"), HasSubstr(" 10.0s")));
  model.Apply(events_.Begin(1), clock_.Now());
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(shown(), HasSubstr(" 11.0s"));
}

TEST_F(ProgressTest, ThePictureNeverGrowsBeyondTheTerminal) {
  ProgressModel model(nullptr);
  for (int id = 1; id <= 50; ++id) {
    model.Apply(events_.Begin(id), clock_.Now());
    model.Apply(events_.Log(id, "1\n2\n3\n4\n5\n6\n7\n8\n"), clock_.Now());
    if (id % 2 == 0) model.Apply(events_.End(id, v1::StepFinished::OUTCOME_RAN), clock_.Now());
  }
  for (const int rows : {1, 3, 10, 40, 200}) {
    EXPECT_LE(
        DrawBuild(model, "Building", {.columns = 80, .rows = rows}, clock_.Now(), false).size(),
        static_cast<size_t>(std::max(3, rows)));
  }
  EXPECT_THAT(DrawBuild(model, "Building", {.columns = 80, .rows = 3}, clock_.Now(), true),
              SizeIs(51));
}

TEST_F(ProgressTest, TheTerminalIsRestoredAtTheEnd) {
  TtyProgress progress({.terminal_fd = -1}, out_, clock_);
  PlayBuildThatSucceeds(progress);
  progress.Finish();
  EXPECT_THAT(out_.str(), HasSubstr("[build 3/3] RUN make all"));
  EXPECT_THAT(out_.str(), EndsWith("\x1b[J\x1b[?25h"));
}

// ---- rawjson, quiet, choice

TEST_F(ProgressTest, RawJsonIsOneEventALine) {
  const auto progress = MakeProgress({.mode = ProgressMode::kRawJson}, out_, clock_);
  progress->OnEvent(events_.Started("b1"));
  progress->Finish();
  EXPECT_EQ(
      out_.str(),
      "{\"sequence\":\"1\",\"time\":\"2023-11-14T22:13:20Z\",\"started\":{\"build_id\":\"b1\"}}\n");
}

TEST_F(ProgressTest, QuietSaysNothingOfABuildThatSucceeds) {
  const auto progress = MakeProgress({.mode = ProgressMode::kQuiet}, out_, clock_);
  PlayBuildThatSucceeds(*progress);
  progress->Finish();
  EXPECT_EQ(out_.str(), "");
}

TEST_F(ProgressTest, AutoIsPlainWhereThereIsNoTerminal) {
  const auto progress = MakeProgress({.terminal_fd = -1}, out_, clock_);
  progress->BeginTask("a");
  progress->Finish();
  EXPECT_THAT(out_.str(), HasSubstr("#1 a\n"));
}

TEST_F(ProgressTest, NoColorsWhereNoneAreWanted) {
  setenv("NO_COLOR", "1", 1);
  ProgressModel model(nullptr);
  model.Apply(events_.End(1, v1::StepFinished::OUTCOME_CACHED), clock_.Now());
  for (const std::string& line : DrawBuild(model, "Building", {}, clock_.Now(), false)) {
    EXPECT_THAT(line, Not(HasSubstr("\x1b")));
  }
  unsetenv("NO_COLOR");
}

TEST(ParseProgressModeTest, AutoIsWhatTheEnvironmentSays) {
  setenv("BUILDKIT_PROGRESS", "plain", 1);
  EXPECT_THAT(ParseProgressMode("auto"), IsOkAndHolds(ProgressMode::kPlain));
  EXPECT_THAT(ParseProgressMode("tty"), IsOkAndHolds(ProgressMode::kTty));
  unsetenv("BUILDKIT_PROGRESS");
  EXPECT_THAT(ParseProgressMode("auto"), IsOkAndHolds(ProgressMode::kAuto));
}

TEST(ParseProgressModeTest, AnUnknownModeIsRefused) {
  EXPECT_THAT(ParseProgressMode("tty"), IsOkAndHolds(ProgressMode::kTty));
  EXPECT_THAT(ParseProgressMode("ttx"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("auto, tty, plain, rawjson")));
}

// ---- following a build

class RecordingProgress final : public Progress {
 public:
  int BeginTask(absl::string_view) override { return 0; }
  void UpdateTask(int, absl::string_view) override {}
  void EndTask(int, const absl::Status&) override {}
  void OnEvent(const v1::BuildEvent& event) override { sequences.push_back(event.sequence()); }
  void Note(absl::string_view line) override { notes.emplace_back(line); }
  void Finish() override {}

  std::vector<int64_t> sequences;
  std::vector<std::string> notes;
};

class FollowBuildTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::BuildFinished> Follow(const FakeFarmClient::Script& start) {
    return FollowBuild(
        client_,
        [&](const FarmClient::EventHandler& handler) { return client_.Play(start, handler); },
        progress_, handle_,
        {.attach_attempts_max = 3,
         .backoff_min = absl::ZeroDuration(),
         .backoff_max = absl::ZeroDuration()});
  }

  Events events_;
  FakeFarmClient client_;
  RecordingProgress progress_;
  BuildHandle handle_;
};

TEST_F(FollowBuildTest, ALostStreamIsJoinedWhereItBrokeOff) {
  const v1::BuildEvent first = events_.Started("b1");
  const v1::BuildEvent second = events_.Begin(1);
  const v1::BuildEvent third = events_.Finished();
  client_.attaches = {{{}, absl::UnavailableError("still away")},
                      {{second, third}, absl::OkStatus()}};
  EXPECT_OK(Follow({{first, second}, absl::UnavailableError("connection reset")}));
  EXPECT_THAT(client_.attached_after, ElementsAre(2, 2));
  EXPECT_THAT(progress_.sequences, ElementsAre(1, 2, 3));
  EXPECT_THAT(progress_.notes, SizeIs(1));
}

TEST_F(FollowBuildTest, JoiningIsTriedABoundedNumberOfTimes) {
  EXPECT_THAT(Follow({{events_.Started("b1")}, absl::UnavailableError("reset")}),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(client_.attached_after, SizeIs(3));
}

TEST_F(FollowBuildTest, ABuildThatARestartedFarmDoesNotKnowIsToBeStartedAgain) {
  client_.attaches = {{{}, absl::UnavailableError("still away")},
                      {{}, absl::NotFoundError("no build b1 is kept")},
                      {{}, absl::UnavailableError("not asked any more")}};
  EXPECT_THAT(Follow({{events_.Started("b1")}, absl::UnavailableError("reset")}),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(client_.attached_after, SizeIs(2));
}

TEST_F(FollowBuildTest, ABuildThatWasNotStartedAgainIsNotJoined) {
  client_.attaches = {{{}, absl::NotFoundError("no build b1 is kept")}};
  EXPECT_FALSE(Follow({{events_.Started("b1")}, absl::UnavailableError("reset")}).ok());
  EXPECT_THAT(Follow({{}, absl::UnavailableError("stopping")}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_THAT(client_.attached_after, SizeIs(1));
}

TEST_F(FollowBuildTest, ARequestThatIsRefusedIsNotTriedAgain) {
  EXPECT_THAT(Follow({{}, absl::FailedPreconditionError("blobs are missing")}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(client_.attached_after, SizeIs(0));
}

TEST_F(FollowBuildTest, ABuildThatEndsForLackOfBlobsIsNotShownAsFailed) {
  v1::BuildEvent finished = events_.Finished("the table of the build context is not in the farm");
  finished.mutable_finished()->mutable_error()->set_code(
      static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(Follow({{finished}, absl::OkStatus()}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("table")));
  EXPECT_THAT(progress_.sequences, SizeIs(0));
}

TEST_F(FollowBuildTest, ACancelBeforeTheStartReachesTheBuildOnceItHasAnId) {
  handle_.Cancel(client_);
  EXPECT_THAT(client_.cancelled, SizeIs(0));
  EXPECT_OK(Follow({{events_.Started("b1"), events_.Finished("cancelled")}, absl::OkStatus()}));
  EXPECT_THAT(client_.cancelled, ElementsAre("b1"));
}

}  // namespace
}  // namespace farm
