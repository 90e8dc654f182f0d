// Runs that are made up from a formula and noise, played to a detector, and what it tells of them.
//
// The noises are none that the detector takes for granted: it works with medians and with deviations of logarithms.
#ifndef GRADWATCH_TESTS_CORE_DETECT_SYNTHETIC_RUN_H_
#define GRADWATCH_TESTS_CORE_DETECT_SYNTHETIC_RUN_H_

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "tests/core/detect/detector_harness.h"

namespace gradwatch::testing {

// What a run shows on one step.
struct Sample {
  double loss = 1;
  double norm = 1;
  double rate = 0.1;
  double ratio = 0.001;  // of every update to its weights
};

// A run: what each of its steps shows, asked for in order.
using Course = std::function<Sample(int step)>;

// Numbers of mean or median 0 that fall as their names say. Not thread-safe.
class Noise {
 public:
  explicit Noise(uint64_t seed) : random_(seed, core::RandomStream::kSyntheticData, 11) {}

  double Uniform() { return random_.NextUniform(); }
  double Normal() { return random_.NextNormal(); }
  // Student's t: tails as of a power law.
  double StudentT(int freedom) {
    double squares = 0;
    for (int i = 0; i < freedom; ++i) squares += std::pow(Normal(), 2);
    return Normal() / std::sqrt(squares / freedom);
  }
  // Above 1, above x with probability x^-exponent.
  double Pareto(double exponent) { return std::pow(1 - Uniform(), -1 / exponent); }
  // Of deviation 1, whose correlation over one step is `memory`.
  double Wandering(double memory) {
    wandering_ = memory * wandering_ + std::sqrt(1 - memory * memory) * Normal();
    return wandering_;
  }

 private:
  core::Random random_;
  double wandering_ = 0;
};

// What was told of a run.
class Told {
 public:
  void Add(const std::vector<v1::Alert>& alerts) {
    for (const v1::Alert& alert : alerts) {
      const bool was_open = open_.erase(alert.alert_id()) > 0;
      if (alert.state() == v1::ALERT_STATE_FIRING) {
        open_[alert.alert_id()] = alert;
        if (!was_open) firings_.push_back(alert);
      }
      if (alert.state() == v1::ALERT_STATE_RESOLVED) resolved_.push_back(alert);
    }
  }

  // The first transition to FIRING of each episode; one that is told again is no further one.
  const std::vector<v1::Alert>& firings() const { return firings_; }
  const std::vector<v1::Alert>& resolved() const { return resolved_; }
  int Count(const std::string& rule) const {
    return static_cast<int>(std::ranges::count_if(firings_, [&](const auto& alert) { return alert.rule() == rule; }));
  }
  int CountOf(v1::Severity severity) const {
    return static_cast<int>(
        std::ranges::count_if(firings_, [&](const auto& alert) { return alert.severity() == severity; }));
  }
  // Step of the first critical alert; -1: there was none.
  int64_t FirstCritical() const {
    for (const v1::Alert& alert : firings_) {
      if (alert.severity() == v1::SEVERITY_CRITICAL) return alert.step();
    }
    return -1;
  }
  // Whether a critical alert, or one of this rule, is open now.
  bool IsCriticalNow() const {
    return std::ranges::any_of(open_, [](const auto& e) { return e.second.severity() == v1::SEVERITY_CRITICAL; });
  }
  bool IsOpen(const std::string& rule) const {
    return std::ranges::any_of(open_, [&](const auto& e) { return e.second.rule() == rule; });
  }
  // The same in words, for whoever reads that a test has failed.
  std::string Words() const {
    std::string words;
    for (const v1::Alert& alert : firings_) {
      absl::StrAppend(&words, alert.step(), " ", alert.rule(), ": ", alert.summary(), "\n");
    }
    return words;
  }

 private:
  std::vector<v1::Alert> firings_, resolved_;
  std::map<std::string, v1::Alert> open_;
};

inline void Show(const Sample& sample, DetectorHarness* harness) {
  harness->SetNorm(sample.norm);
  harness->record().loss = sample.loss;
  harness->record().learning_rate = sample.rate;
  harness->SetUpdateRatio(sample.ratio);
}

// Plays steps [from, until) of a course.
inline void Play(const Course& course, int from, int until, DetectorHarness* harness, Told* told) {
  for (int step = from; step < until; ++step) {
    Show(course(step), harness);
    told->Add(harness->Step());
  }
}

// A whole run under the default rules, but for its end.
inline Told Play(const Course& course, int steps) {
  DetectorHarness harness(v1::RuleSet{});
  Told told;
  Play(course, 0, steps, &harness, &told);
  return told;
}

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_CORE_DETECT_SYNTHETIC_RUN_H_
