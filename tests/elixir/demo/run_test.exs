defmodule DSPex.Demo.RunTest do
  @moduledoc "The whole demo: offline, and against an OpenAI-compatible server over a real socket."
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias DSPex.Demo
  alias DSPex.Error

  @examples Path.expand("../../../examples", __DIR__)
  @python Path.expand("../../../.venv/bin/python", __DIR__)

  # The server refuses requests without the key.
  @server ["-m", "python_bridge.testing.openai_server", "--exit-on-eof", "--token-env", "DSPEX_TEST_SERVER_KEY"]
  @server_env [{'DSPEX_TEST_SERVER_KEY', 'sk-test'}]

  @tag req: ["FR1.3.1", "FR1.3.2", "FR1.3.3", "FR1.3.4", "FR1.1.1"]
  test "offline it answers, streams, asks many at once, cancels, and tells what ran where" do
    shown = shown(fn -> assert Demo.run(examples: @examples, lm: "offline/extractive") == :ok end)

    assert shown =~ "offline/extractive is not a language model"
    assert shown =~ "2 Python workers are ready"
    assert flat(shown) =~ ~r/1\. Predict.*was first lit on 9 October 1874/
    assert shown =~ ~r/2\. ChainOfThought.*answer .*Harriet Lowden.*confidence  \d\.\d.*sources /s
    assert shown =~ ~r/3\. A streamed.*\+\d+ ms  reasoning: .*\+\d+ ms  answer: /s
    assert [[_all, pieces]] = Regex.scan(~r/(\d+) pieces in \d+ ms/, shown)
    assert String.to_integer(pieces) > 10
    assert shown =~ ~r/4\. 20 questions at once.*20\/20/s
    assert [[_all, found]] = Regex.scan(~r/(\d+) of 20 answers hold what was expected/, shown)
    assert String.to_integer(found) >= 15
    assert shown =~ "stopped reading after 3 pieces"
    assert shown =~ "DSPEX_LM=openai/gpt-4o-mini OPENAI_API_KEY=… make demo"

    assert [_header, _rule | rows] = table(shown)
    assert length(rows) == 24
    assert Enum.count(rows, &(&1 =~ ~r/ python  \S+ +[\d.]+ +\d+ +\d+  ok$/)) == 23
    assert List.last(rows) =~ ~r/given up .*cancelled$/
    # Both workers had their share.
    assert rows
           |> Enum.flat_map(&Regex.scan(~r/python  (w-\w+) /, &1, capture: :all_but_first))
           |> Enum.uniq()
           |> length() == 2
  end

  describe "with DSPEX_LM" do
    setup do
      port = Port.open({:spawn_executable, @python}, [:binary, {:line, 4096}, args: @server, env: @server_env])
      assert_receive {^port, {:data, {:eol, line}}}, 60_000
      [[url]] = Regex.scan(~r/"base_url": "([^"]+)"/, line, capture: :all_but_first)
      on_exit(fn -> for name <- ~w(DSPEX_LM OPENAI_BASE_URL OPENAI_API_KEY), do: System.delete_env(name) end)
      System.put_env(%{"DSPEX_LM" => "openai/test-model", "OPENAI_BASE_URL" => url, "OPENAI_API_KEY" => "sk-test"})
      {:ok, url: url}
    end

    test "the task asks that LM, and does not call it no language model" do
      shown = shown(fn -> Mix.Tasks.Dspex.Demo.run(["--examples", @examples, "--questions", "4", "--workers", "1"]) end)

      assert shown =~ "LM openai/test-model"
      refute shown =~ "not a language model"
      assert flat(shown) =~ "first lit on 9 October 1874"
      assert shown =~ ~r/4\. 4 questions at once.*4\/4/s
      assert shown =~ "4 of 4 answers hold what was expected"
      assert [_header, _rule | rows] = table(shown)
      assert Enum.count(rows, &(&1 =~ ~r/  ok$/)) == 7
    end

    test "without its key the LM refuses, and the demo says so" do
      System.put_env("OPENAI_API_KEY", "sk-of-somebody-else")
      arguments = ["--examples", @examples, "--workers", "1"]

      told =
        capture_io(:stderr, fn ->
          shown(fn -> assert catch_exit(Mix.Tasks.Dspex.Demo.run(arguments)) == {:shutdown, 1} end)
        end)

      assert told =~ "lm_error"
      assert told =~ "401"
    end

    test "an LM that can't be reached is an error that says so, and the exit status is 1" do
      System.put_env("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
      arguments = ["--examples", @examples, "--workers", "1"]

      told =
        capture_io(:stderr, fn ->
          shown(fn -> assert catch_exit(Mix.Tasks.Dspex.Demo.run(arguments)) == {:shutdown, 1} end)
        end)

      assert told =~ "lm_error"
      refute told =~ "sk-test"
    end
  end

  test "a folder without questions is told before any worker starts" do
    assert {:error, %Error{reason: :invalid_input}} = Demo.run(examples: Path.join(@examples, "documents"))
  end

  test "the task names its options when it is given others" do
    assert_raise Mix.Error, ~r/takes --examples, --workers and --questions/, fn ->
      Mix.Tasks.Dspex.Demo.run(["--fast"])
    end
  end

  defp shown(function), do: capture_io(function)

  # Long answers are wrapped.
  defp flat(shown), do: String.replace(shown, ~r/\s+/, " ")

  defp table(shown) do
    [_before, rest] = String.split(shown, "What ran where\n")
    rest |> String.split("\n\n") |> hd() |> String.split("\n", trim: true)
  end
end
