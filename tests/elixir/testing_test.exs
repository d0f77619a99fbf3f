defmodule DSPex.TestingTest do
  use ExUnit.Case, async: true

  import DSPex.Testing

  alias DSPex.Error
  alias DSPex.Event

  @moduletag req: "OWN-8"
  @program DSPex.ChainOfThought.new("question -> answer")

  defp start(name, answers, options \\ []) do
    start_supervised!({DSPex, name: name, pools: [default: pool(answers, options)]})
    name
  end

  defp ask(instance, question, options \\ []),
    do: DSPex.call(@program, %{question: question}, [{:instance, instance} | options])

  test "a function answers by the inputs and the program, and the calls can be asked for in any order" do
    instance = start(__MODULE__.Function, fn %{"question" => q}, program -> %{answer: "#{program["kind"]}: #{q}"} end)
    assert {:ok, %{outputs: %{"answer" => "chain_of_thought: a"}}} = ask(instance, "a")
    assert {:ok, %{outputs: %{"answer" => "chain_of_thought: b"}}} = ask(instance, "b", lm: "small")

    assert %{options: %{"lm" => "small"}, program: %{"signature" => "question -> answer"}} =
             assert_called(%{question: "b"})

    assert_called(question: "a")
    assert :ok = refute_called()
  end

  test "a map is the answer to every call, a list that of one after the other" do
    instance = start(__MODULE__.Map, %{"answer" => 42})
    for _call <- 1..2, do: assert({:ok, %{outputs: %{"answer" => 42}}} = ask(instance, "?"))
    error = Error.new(:lm_error, "429 from the provider")
    instance = start(__MODULE__.List, [%{answer: "first"}, error, :crash, %{answer: "last"}])
    assert {:ok, %{outputs: %{"answer" => "first"}}} = ask(instance, "?")
    assert {:error, %Error{reason: :lm_error, message: "429 from the provider"}} = ask(instance, "?")
    assert {:error, %Error{reason: :worker_lost}} = ask(instance, "?")
    for _call <- 1..2, do: assert({:ok, %{outputs: %{"answer" => "last"}}} = ask(instance, "?"))
  end

  test "a stream gives tokens and the prediction, also of a long text" do
    text = Enum.map_join(1..100, " ", &"word#{&1}")
    instance = start(__MODULE__.Stream, %{answer: text})
    events = Enum.to_list(DSPex.stream(@program, %{question: "?"}, instance: instance))
    assert %Event{type: :done, prediction: %{outputs: %{"answer" => ^text}}} = List.last(events)
    assert Enum.map_join(for(%Event{type: :token} = event <- events, do: event), & &1.text) == text
  end

  test "a call that is cancelled kills the process of its answer" do
    test = self()

    slow = fn _inputs ->
      send(test, {:answering, self()})
      receive(do: (:never -> %{}))
    end

    instance = start(__MODULE__.Cancel, slow)
    task = Task.async(fn -> ask(instance, "?", timeout: 200) end)
    assert_receive {:answering, pid}
    monitor = Process.monitor(pid)
    assert {:error, %Error{reason: :timeout}} = Task.await(task)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
  end

  test "answers that raise, and those that are no answers, fail the call and tell where" do
    for {answers, text} <- [
          {fn %{"question" => _question} -> raise "no idea" end, "testing_test.exs:"},
          {fn %{"other" => _other} -> %{answer: "x"} end, "FunctionClauseError"},
          {fn _inputs -> throw(:away) end, "(throw) :away"},
          {fn _inputs -> :nothing end, "Enumerable not implemented for :nothing"}
        ] do
      instance = start(__MODULE__.Raising, answers)
      assert {:error, %Error{reason: :program_error, message: message}} = ask(instance, "?")
      assert message =~ text
      stop_supervised!(instance)
    end
  end

  test "what was called and was not is said" do
    instance = start(__MODULE__.Message, %{answer: "x"})
    assert {:ok, _prediction} = ask(instance, "Why?")
    error = assert_raise ExUnit.AssertionError, fn -> assert_called(%{question: "How?"}, 0) end
    assert error.message =~ ~s(no call had the inputs %{"question" => "How?"})
    assert error.message =~ "Why?"
    assert_raise ExUnit.AssertionError, ~r/there was a call/, fn -> refute_called(question: "Why?") end
  end
end
