defmodule DSPex.Protocol.VersionsTest do
  # The two packages are released together: a worker of another version is told as that, not found out by odd failures.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Protocol.Versions
  alias DSPex.Test.Peer

  doctest Versions

  @moduletag req: ["NFR2.2.2", "NFR4.1.2", "NFR5.1.4"]
  @own Mix.Project.config()[:version]

  defp worker(server) do
    fn link, id, _params ->
      limits = %{"max_frame_bytes" => 1_000_000}
      info = %{"protocol_version" => 1, "server" => server, "limits" => limits, "worker_id" => "w1", "pid" => 1}
      Peer.result(link, id, info)
      Peer.notify(link, "ready", [{"dspy", %{"version" => "3.4.1"}}, {"features", []}, {"boot_ms", 1}])
    end
  end

  defp start(name, server, options \\ []),
    do: Peer.start_instance(Module.concat(__MODULE__, name), %{"initialize" => worker(server)}, options)

  defp python(version), do: %{"name" => "python_bridge", "version" => version}

  test "a worker whose package is of another version is refused with both versions and the command that mends it" do
    instance = start(:Other, python("99.7.1"))
    assert {:error, %Error{reason: :unavailable} = error} = DSPex.await_ready(instance)

    for part <- ["python_bridge 99.7.1", "dspex #{@own}", "mix dspex.setup", "version_mismatch: :allow"],
        do: assert(error.message =~ part)

    assert error.details == %{"dspex" => @own, "python_bridge" => "99.7.1"}
    program = DSPex.Predict.new("question -> answer")
    assert {:error, %Error{message: message}} = DSPex.call(program, %{question: "?"}, instance: instance)
    assert message =~ "99.7.1"
  end

  test "it is used where the pool allows it" do
    instance = start(:Allowed, python("99.7.1"), version_mismatch: :allow)
    assert :ok = DSPex.await_ready(instance)
  end

  test "another patch, a version that cannot be read and a server of another name are used" do
    patch = Regex.replace(~r/\.\d+$/, @own, ".999.dev1+local")

    for {name, server} <- [
          {:Patch, python(patch)},
          {:Unreadable, python(String.duplicate("9", 1_000))},
          {:NoText, python(7)},
          {:NoServer, nil},
          {:Another, %{"name" => "another", "version" => "99.0.0"}}
        ] do
      assert :ok = DSPex.await_ready(start(name, server))
    end
  end

  test "below 1.0 the minor number counts, from there on the major one alone" do
    for {own, other, fits?} <- [
          {"0.1.0", "0.1.9", true},
          {"0.1.0", "0.2.0", false},
          {"0.1.0", "1.1.0", false},
          {"1.0.0", "1.9.0", true},
          {"1.0.0", "2.0.0", false},
          {"0.1.0", "0.10.0", false},
          {"0.2.0", "0.2.0rc1", true}
        ] do
      assert match?(:ok, Versions.check(own, python(other))) == fits?, "#{own} and #{other}"
    end
  end
end
