defmodule DSPex.Testing do
  @moduledoc """
  For the tests of applications: a pool whose worker lives in this BEAM. No Python and no LM; the options, the pool, the
  protocol and the telemetry are the real ones.

      setup do
        answers = fn %{"question" => question} -> %{answer: "echo: " <> question} end
        start_supervised!({DSPex, name: MyApp.DSPex, pools: [default: DSPex.Testing.pool(answers)]})
        :ok
      end

      test "the page shows the answer" do
        assert MyApp.ask("Why?") == "echo: Why?"
        DSPex.Testing.assert_called(%{question: "Why?"})
      end

  `answers` is one of

    * a map of outputs, for every call
    * a list of maps and errors, for one call after the other; the last one stays
    * a function of the inputs (a map with text keys), or of the inputs and the program (its JSON as a map), that gives a
      map of outputs, a `DSPex.Error`, or `:crash`: then the worker is lost in mid-call

  The function runs in a process of its own for each call; the cancellation of the call kills it. One that raises gives the
  call a `:program_error` with what was raised and where.
  """

  alias DSPex.Testing.Worker
  alias DSPex.Transport.Memory

  @type answer :: map | DSPex.Error.t() | :crash
  @type answers :: map | [answer, ...] | (map -> answer) | (map, map -> answer)

  @doc """
  Options of a pool with scripted workers. The calling process is told of every call: `assert_called/2` reads that. Further
  options are those of a pool.
  """
  @spec pool(answers, keyword) :: keyword
  def pool(answers, options \\ []) do
    owner = self()
    answer = Worker.answers(answers)
    start = fn -> Worker.start(owner, answer) end
    Keyword.merge([workers: 1, transport: {Memory, peer: start}, backoff: [first: 1, most: 50]], options)
  end

  @doc """
  Waits (`timeout` ms) for a call whose inputs have these members, and gives what is known of it: `inputs`, `program`,
  `options`, `meta`. Calls are seen once each. For the process that called `pool/2`.
  """
  @spec assert_called(map | keyword, timeout) :: map
  def assert_called(inputs, timeout \\ 1_000) do
    wanted = wanted(inputs)

    case take(wanted, timeout) do
      nil ->
        text = "no call had the inputs #{inspect(wanted)}; calls that were not asked for yet: #{inspect(seen())}"
        raise ExUnit.AssertionError, message: text

      call ->
        call
    end
  end

  @doc "Fails when a call with such inputs has come, or comes within `timeout` ms."
  @spec refute_called(map | keyword, timeout) :: :ok
  def refute_called(inputs \\ %{}, timeout \\ 0) do
    case take(wanted(inputs), timeout) do
      nil -> :ok
      call -> raise ExUnit.AssertionError, message: "there was a call with the inputs #{inspect(call.inputs)}"
    end
  end

  defp wanted(inputs), do: Map.new(inputs, fn {name, value} -> {to_string(name), value} end)

  # A selective receive cannot ask for a part of a map that is only known now: those that do not fit are put back.
  defp take(wanted, timeout), do: search(wanted, System.monotonic_time(:millisecond) + timeout, [])

  defp search(wanted, deadline, passed) do
    receive do
      {Worker, :called, call} = message ->
        if Enum.all?(wanted, fn {name, value} -> Map.fetch(call.inputs, name) == {:ok, value} end),
          do: found(call, passed),
          else: search(wanted, deadline, [message | passed])
    after
      max(0, deadline - System.monotonic_time(:millisecond)) -> found(nil, passed)
    end
  end

  defp found(outcome, passed) do
    passed |> Enum.reverse() |> Enum.each(&send(self(), &1))
    outcome
  end

  defp seen do
    {:messages, messages} = Process.info(self(), :messages)
    for {Worker, :called, call} <- messages, do: call.inputs
  end
end
