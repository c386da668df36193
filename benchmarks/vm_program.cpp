// A program of its own that runs a model in TVM's virtual machine and times itself; it is asked and
// answers as tunekit/runtimes/timed_program.c does.
//
//     vm_program MODEL.so INPUT:CODE:BITS:SIZExSIZE...    threads: TVM_NUM_THREADS
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;

namespace {

double seconds_of(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Aligned {
  void AllocData(DLTensor* tensor) {
    tensor->data = std::aligned_alloc(64, (ffi::GetDataSize(*tensor) + 64) / 64 * 64);
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

ffi::Tensor read_input(const std::string& text) {
  std::istringstream parts(text);
  std::string path, code, bits, sizes, size;
  std::getline(parts, path, ':');
  std::getline(parts, code, ':');
  std::getline(parts, bits, ':');
  std::getline(parts, sizes);
  std::vector<int64_t> shape;
  for (std::istringstream each(sizes); std::getline(each, size, 'x');) {
    shape.push_back(std::stoll(size));
  }
  DLDataType type{static_cast<uint8_t>(std::stoi(code)), static_cast<uint8_t>(std::stoi(bits)), 1};
  ffi::Tensor tensor = ffi::Tensor::FromNDAlloc(Aligned(), ffi::Shape(shape), type, {kDLCPU, 0});
  std::ifstream file(path, std::ios::binary);
  auto bytes = static_cast<std::streamsize>(ffi::GetDataSize(tensor));
  if (!file.read(static_cast<char*>(tensor.data_ptr()), bytes)) {
    throw std::runtime_error("an input cannot be read");
  }
  return tensor;
}

void write_outputs(const ffi::Any& result, std::ofstream& file) {
  if (auto tensor = result.as<ffi::Tensor>()) {
    file.write(static_cast<const char*>(tensor->data_ptr()),
               static_cast<std::streamsize>(ffi::GetDataSize(*tensor)));
    return;
  }
  for (const ffi::Any& part : result.cast<ffi::Array<ffi::Any>>()) write_outputs(part, file);
}

struct Machine {
  ffi::Module library, machine;
  ffi::Function main;
  std::vector<ffi::Tensor> inputs;
  std::vector<ffi::AnyView> arguments;

  explicit Machine(const char* path)
      : library(ffi::Module::LoadFromFile(path)),
        machine((*library->GetFunction("vm_load_executable"))().cast<ffi::Module>()),
        main(nullptr) {
    (*machine->GetFunction("vm_initialization"))(static_cast<int>(kDLCPU), 0, 2);
    main = *machine->GetFunction("main");
  }

  ffi::Any run() const {
    ffi::Any result;
    main.CallPacked(arguments.data(), static_cast<int32_t>(arguments.size()), &result);
    return result;
  }
};

void turn(const Machine& machine, double seconds, long least, long most, long untimed) {
  std::vector<double> samples;
  for (long i = 0; i < untimed; i++) machine.run();
  double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID), start = seconds_of(CLOCK_MONOTONIC), end;
  do {
    double before = seconds_of(CLOCK_MONOTONIC);
    machine.run();
    end = seconds_of(CLOCK_MONOTONIC);
    samples.push_back(end - before);
  } while (static_cast<long>(samples.size()) < most &&
           (end - start < seconds || static_cast<long>(samples.size()) < least));
  cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  std::printf("{\"wall_s\": %.9f, \"cpu_s\": %.9f, \"seconds\": [", end - start, cpu);
  for (size_t i = 0; i < samples.size(); i++) std::printf("%s%.9f", i ? ", " : "", samples[i]);
  std::printf("]}\n");
}

void answer(const Machine& machine, const std::string& line) {
  double seconds;
  long least, most, untimed;
  if (std::sscanf(line.c_str(), "run %lf %ld %ld %ld", &seconds, &least, &most, &untimed) == 4) {
    turn(machine, seconds, least, most, untimed);
  } else {
    std::ofstream file(line.substr(line.find(' ') + 1), std::ios::binary);
    write_outputs(machine.run(), file);
    std::printf("{}\n");
  }
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  double began = seconds_of(CLOCK_MONOTONIC);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    Machine machine(argv[1]);
    for (int i = 2; i < argc; i++) machine.inputs.push_back(read_input(argv[i]));
    for (const ffi::Tensor& input : machine.inputs) machine.arguments.emplace_back(input);
    const char* threads = std::getenv("TVM_NUM_THREADS");
    std::printf("{\"began_s\": %.9f, \"load_s\": %.9f, \"threads\": %s}\n", began,
                seconds_of(CLOCK_MONOTONIC) - began, threads ? threads : "0");
    std::fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) answer(machine, line);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::_Exit(1);
  }
  std::_Exit(0);
}
