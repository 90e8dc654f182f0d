#include "tests/support/shipped_jobs.h"

#include <algorithm>
#include <filesystem>

#include "tests/support/shared_data.h"

namespace gradwatch::testing {

std::vector<std::string> ShippedJobs() {
  std::vector<std::string> files;
  for (const char* folder : {"/deploy/jobs", "/tests/bench/workloads"}) {
    for (const auto& entry : std::filesystem::directory_iterator(std::string(GRADWATCH_SOURCE_DIR) + folder)) {
      if (entry.path().extension() == ".yaml") files.push_back(entry.path().string());
    }
  }
  std::ranges::sort(files);
  return files;
}

std::string ShippedJobName(const std::string& path) {
  const bool is_workload = path.find("workloads") != std::string::npos;
  return (is_workload ? "workload_" : "job_") + std::filesystem::path(path).stem().string();
}

std::vector<std::string> JobDataFolders() {
  std::vector<std::string> folders;
  for (const std::string& folder : {std::string("/usr/share/common-licenses"), SharedFile("data")}) {
    if (!folder.empty() && std::filesystem::is_directory(folder)) folders.push_back(folder);
  }
  return folders;
}

}  // namespace gradwatch::testing
