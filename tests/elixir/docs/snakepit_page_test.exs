defmodule DSPex.Docs.SnakepitPageTest do
  # Snakepit is not there for these tests: its configuration is read and compared with what is known of it here, pools are
  # checked as options, calls are compiled.
  use ExUnit.Case, async: false

  alias DSPex.Options

  @page Path.expand("../../../docs/snakepit.md", __DIR__)
  @external_resource @page
  @moduletag req: ["NFR4.1.2", "TC1"]

  defp blocks(kind) do
    found = Regex.scan(~r/^```elixir #{kind}\n(.*?)^```$/ms, File.read!(@page), capture: :all_but_first)
    assert found != []
    List.flatten(found)
  end

  @tag :tmp_dir
  test "each config/runtime.exs is complete, and its flags are those of a worker", %{tmp_dir: folder} do
    for block <- blocks("runtime.exs") do
      path = Path.join(folder, "runtime.exs")
      File.write!(path, block)
      config = Config.Reader.read!(path)
      snakepit = config[:snakepit]
      assert snakepit[:adapter_module] == DSPex.Integrations.Snakepit
      assert snakepit[:pooling_enabled]
      assert snakepit[:heartbeat][:dependent] == false
      assert snakepit[:grpc_stream_open_timeout_ms] > 5_000
      assert is_binary(snakepit[:instance_name])
      pools = Enum.map(snakepit[:pools] || [], &Map.get(&1, :adapter_args, []))
      own = config[:dspex][:snakepit][:args] || []
      for flags <- [own | pools], do: assert(unknown(flags) -- ["--programs-folder", "/srv/my_app/programs"] == [])
    end
  end

  test "the pools are options that DSPex takes" do
    for block <- blocks("child") do
      {{DSPex, options}, _bindings} = Code.eval_string(block)
      assert Enum.all?(Options.instance!(options)[:pools], fn {_name, pool} -> pool[:start] == :snakepit end)
    end
  end

  test "the calls are Elixir" do
    for block <- blocks("call"), do: assert({_operator, _meta, _arguments} = Code.string_to_quoted!(block))
  end

  # What `python-bridge worker` would not take.
  defp unknown(flags) do
    code = "import sys; from python_bridge.cli.worker_flags import split_known; print(*split_known(sys.argv[1:])[1])"
    {told, 0} = System.cmd(Path.expand(".venv/bin/python"), ["-c", code | flags])
    String.split(told)
  end
end
