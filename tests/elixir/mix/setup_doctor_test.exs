defmodule DSPex.SetupDoctorTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  alias DSPex.Doctor
  alias DSPex.Setup

  doctest DSPex.Setup
  doctest DSPex.Doctor

  @moduletag req: ["NFR4.1.2", "FR2.1.2"]
  @moduletag timeout: 180_000

  describe "setup" do
    test "installs the locks of the library's own folder, and itself without its dependencies" do
      commands = Setup.commands(venv: "v", python: "python3.11") |> Enum.map(&elem(&1, 1))
      assert [["python3.11", "-m", "venv", "v"], uv, packages, bridge] = commands
      assert List.last(uv) == Path.join(Setup.root(), "requirements-uv.lock")
      assert "--require-hashes" in packages and List.last(packages) == Path.join(Setup.root(), "requirements.lock")
      assert ["--no-deps", "--no-build-isolation", root] = Enum.take(bridge, -3)
      assert root == Setup.root()
    end

    test "with a wheelhouse nothing is fetched, with pip no uv is needed, extras come by themselves" do
      commands = Setup.commands(wheelhouse: "wheels", pip: true, extras: ["grpc", "mlflow"]) |> Enum.map(&elem(&1, 1))
      refute Enum.any?(commands, &("v/bin/uv" in &1))
      for command <- tl(commands), do: assert("--no-index" in command)
      assert Enum.any?(commands, &(List.last(&1) == Setup.root() <> "[grpc,mlflow]"))
    end

    @tag :tmp_dir
    test "a step that fails is told with its last lines and its command", %{tmp_dir: folder} do
      venv = Path.join(folder, "venv")
      assert {:error, error} = Setup.run(venv: venv, python: "no-such-python", pip: true)
      assert error.message =~ "making #{venv} failed with status 127"
      assert error.message =~ "no-such-python -m venv"
    end

    @tag :tmp_dir
    test "a venv is made in a folder named from the current one, and a wheelhouse that lacks a package is told",
         context do
      venv = Path.relative_to_cwd(Path.join(context.tmp_dir, "venv"))
      assert {:error, error} = Setup.run(venv: venv, pip: true, wheelhouse: context.tmp_dir)
      assert File.regular?(Path.join(venv, "bin/python"))
      assert error.message =~ "installing the packages of requirements.lock failed with status 1"
      assert error.message =~ "No matching distribution found"
    end

    test "the package has every file that its own set-up and compilation need" do
      files = Mix.Project.config()[:package][:files]
      assert Enum.all?(files, &File.exists?(Path.join(Setup.root(), &1)))

      for needed <- ~w(python_bridge proto pyproject.toml requirements.lock requirements-uv.lock),
          do: assert(needed in files)

      {:ok, project} = File.read(Path.join(Setup.root(), "pyproject.toml"))
      [readme] = Regex.run(~r/^readme = "(.+)"$/m, project, capture: :all_but_first)
      assert readme in files

      [version] =
        Regex.run(~r/^version = "(.+)"$/m, File.read!(Path.join(Setup.root(), "pyproject.toml")),
          capture: :all_but_first
        )

      assert version == Mix.Project.config()[:version]
    end

    test "the task refuses arguments that it does not know" do
      assert_raise Mix.Error, ~r/takes --venv/, fn -> Mix.Tasks.Dspex.Setup.run(["--nope"]) end
    end
  end

  describe "doctor" do
    @tag req: ["NFR4.1.4", "FR2.1.4", "TC4"]
    test "a sound machine passes, a worker and one call included" do
      checks = Doctor.checks(python: ".venv")
      assert Doctor.healthy?(checks), Doctor.format(checks)
      assert %{found: found} = Enum.find(checks, &(&1.name == "a worker"))
      assert found =~ "started and answered"
    end

    test "a missing Python is told with its fix, and no worker is tried" do
      checks = Doctor.checks(python: "/no/such/python")
      refute Doctor.healthy?(checks)
      refute Enum.any?(checks, &(&1.name == "a worker"))
      assert Doctor.format(checks) =~ "FAILED   Python: the pool's option python is /no/such/python"
      assert Doctor.format(checks) =~ "→ run `mix dspex.setup`"
    end

    @tag :tmp_dir
    test "a program that is no Python is told by what it said", %{tmp_dir: folder} do
      script = Path.join(folder, "python")
      File.write!(script, "#!/bin/sh\necho 'I am a shell' >&2\nexit 3\n")
      File.chmod!(script, 0o755)
      assert %{status: :failed, found: found} = Doctor.checks(python: script) |> Enum.find(&(&1.name == "Python"))
      assert found =~ "I am a shell"
    end

    test "the task prints the checks and ends with status 1 when one failed" do
      output =
        capture_io(fn ->
          assert catch_exit(Mix.Tasks.Dspex.Doctor.run(["--python", "/no/such/python"])) == {:shutdown, 1}
        end)

      assert output =~ "FAILED"
      assert capture_io(fn -> Mix.Tasks.Dspex.Doctor.run(["--python", ".venv", "--no-worker"]) end) =~ "ok       dspy"
    end
  end
end
