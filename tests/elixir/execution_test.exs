defmodule DSPex.ExecutionTest do
  # `execution:` of calls, by the vectors that Python takes too, and on the whole way with the real worker.
  use ExUnit.Case, async: true

  alias DSPex.Execution
  alias DSPex.Ordered
  alias DSPex.Test.Vectors

  doctest Execution

  @vectors Vectors.read("execution.json")
  # Atoms that `written/1` finds.
  @unknown ~w(tries max_cost)a
  @names %{"timeout_ms" => "timeout"}
  @program DSPex.Predict.new("context, question -> answer")
  @inputs %{context: "Paris is the capital of France.", question: "What is the capital of France?"}

  test "names that no option has are in use here alone" do
    for name <- @unknown, do: assert({:error, _} = Execution.to_wire([{name, 1}]))
  end

  # What a caller in Elixir writes for a member of the wire.
  defp written(wire) do
    for {name, value} <- wire, do: {String.to_existing_atom(@names[name] || name), value(name, value)}
  end

  defp value("fallback", choices), do: Enum.map(choices, &choice/1)
  defp value("limits", limits), do: Map.new(limits, fn {name, value} -> {String.to_existing_atom(name), value} end)
  defp value(_name, value), do: value

  defp choice("lm:" <> name), do: {:lm, name}
  defp choice("stale"), do: :stale
  defp choice("partial"), do: :partial
  defp choice(other), do: other

  for row <- @vectors["valid"] do
    @row row
    @tag req: "FR1.3.1"
    test "written as the protocol has it: #{row["name"]}" do
      assert {:ok, wire} = Execution.to_wire(written(@row["execution"]))
      assert Ordered.plain(wire) == @row["execution"]
    end
  end

  for %{"client" => words} = row <- @vectors["invalid"] do
    @row row
    @words words
    @tag req: ["NFR2.2.2", "NFR4.1.4"]
    test "refused before anything is sent: #{row["name"]}" do
      assert {:error, %{reason: :invalid_input, message: message}} = Execution.to_wire(written(@row["execution"]))
      assert message =~ @words
    end
  end

  describe "with a worker" do
    setup do
      options = [workers: 1, lm: "offline/extractive", env: [{"DSPEX_RESULT_CACHE_BYTES", "1000000"}]]
      name = Module.concat(__MODULE__, "I#{System.unique_integer([:positive])}")
      start_supervised!({DSPex, name: name, pools: [default: options]})
      :ok = DSPex.await_ready(name, 120_000)
      {:ok, instance: name}
    end

    @tag req: ["FR1.3.1", "FR1.3.4", "FR4.1.1"], timeout: 180_000
    test "answers are kept, steps are told, limits hold, and wrong options are errors", %{instance: instance} do
      call = fn options -> DSPex.call(@program, @inputs, [{:instance, instance} | options]) end
      assert {:ok, %{meta: %{"cache" => "miss"}} = first} = call.([])
      assert {:ok, %{meta: %{"cache" => "hit"}} = second} = call.([])
      assert second.outputs == first.outputs
      assert {:ok, %{meta: %{"cache" => "off"}}} = call.(execution: [cache: false])

      assert {:ok, %{meta: %{"debug_trace" => [_ | _] = steps}}} = call.(execution: [debug: true])
      assert Enum.any?(steps, &(&1["kind"] == "lm"))

      assert {:error, %{reason: :limit_exceeded, details: %{"limit" => "max_lm_calls"}}} =
               call.(execution: [cache: false, limits: [max_lm_calls: 0]])

      assert {:ok, %{meta: %{"route" => "python"}}} = call.(execution: [retries: 1], implementation: :auto)

      assert {:error, %{reason: :invalid_input, message: "execution: retries is 99" <> _}} =
               call.(execution: [retries: 99])
    end
  end
end
