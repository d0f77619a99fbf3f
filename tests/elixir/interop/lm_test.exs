defmodule DSPex.Interop.LmTest do
  # LMs that misbehave, over a real socket: the OpenAI-compatible server of python_bridge.testing.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.OpenAI

  @moduletag timeout: 180_000
  @key "unusual.test/key=secret"
  @program DSPex.Predict.new("question -> answer: int")
  @inputs %{question: "How many?"}

  setup_all do
    base_url = OpenAI.start(@key)
    env = [{"OPENAI_BASE_URL", base_url}, {"OPENAI_API_KEY", @key}]
    start_supervised!({DSPex, name: __MODULE__, pools: [default: [workers: 1, lm: "openai/any", env: env]]})
    :ok = DSPex.await_ready(__MODULE__, 120_000)
    {:ok, base_url: base_url}
  end

  defp call(options \\ []), do: DSPex.call(@program, @inputs, [{:instance, __MODULE__} | options])

  defp works(base_url) do
    OpenAI.push(base_url, [%{"fields" => %{"answer" => "42"}}])
    assert {:ok, %{outputs: %{"answer" => 42}}} = call()
  end

  @tag req: ["FR1.1.1", "FR1.3.4"]
  test "an answer of the LM reaches Elixir with its type and usage", %{base_url: base_url} do
    OpenAI.push(base_url, [%{"fields" => %{"answer" => "7"}, "usage" => [11, 5]}])
    assert {:ok, prediction} = call()
    assert prediction["answer"] == 7
    assert %{"prompt_tokens" => 11, "completion_tokens" => 5} = prediction.usage
  end

  @tag req: ["NFR2.2.1", "NFR2.2.2"]
  test "an LM that refuses is lm_error with provider and status, without the key", %{base_url: base_url} do
    for {status, retryable?} <- [{401, false}, {400, false}, {500, true}, {429, true}] do
      echo = %{"message" => "the key #{@key} was refused"}
      OpenAI.push(base_url, [%{"status" => status, "retry_after" => 0.01, "times" => 5, "error" => echo}])
      assert {:error, %Error{reason: :lm_error} = error} = call()
      assert error.details["status"] == status
      assert error.retryable? == retryable?
      assert Exception.message(error) =~ "was refused"
      refute Exception.message(error) =~ @key
      refute inspect(error, structs: false, limit: :infinity) =~ @key
      reset(base_url)
      works(base_url)
    end
  end

  @tag req: ["NFR2.2.1", "OWN-1"]
  test "an LM that stalls is a timeout, and its HTTP call is dropped", %{base_url: base_url} do
    OpenAI.push(base_url, [%{"stall" => true}])
    assert {:error, %Error{reason: :timeout}} = call(timeout: 1_000)
    assert {200, %{"disconnects" => count}} = OpenAI.await(base_url, "disconnects=1")
    assert count >= 1
    works(base_url)
  end

  @tag req: ["FR1.3.2", "OWN-1"]
  test "a cancelled call drops its HTTP call too", %{base_url: base_url} do
    {200, %{"disconnects" => before}} = OpenAI.await(base_url, "disconnects=0")
    {200, %{"requests" => requests}} = OpenAI.await(base_url, "requests=0")
    OpenAI.push(base_url, [%{"stall" => true}])
    call = DSPex.async(@program, @inputs, instance: __MODULE__)
    {200, _seen} = OpenAI.await(base_url, "requests=#{length(requests) + 1}")
    :ok = DSPex.cancel(call)
    assert {:error, %Error{reason: :cancelled}} = DSPex.await(call)
    assert {200, _seen} = OpenAI.await(base_url, "disconnects=#{before + 1}")
    works(base_url)
  end

  @tag req: "NFR2.2.1"
  test "an LM that answers in the wrong format, or is cut off, is lm_error", %{base_url: base_url} do
    for behaviour <- [
          %{"text" => "I would rather talk about the weather.", "times" => 4},
          %{"disconnect" => true, "times" => 5}
        ] do
      OpenAI.push(base_url, [behaviour])
      assert {:error, %Error{reason: :lm_error}} = call()
      reset(base_url)
      works(base_url)
    end
  end

  @tag req: ["FR1.3.3", "NFR1.1.4"]
  test "tokens stream as the LM sends them", %{base_url: base_url} do
    OpenAI.push(base_url, [
      %{"fields" => %{"answer" => "a long answer in several words, piece by piece"}, "pace" => 0.005}
    ])

    program = DSPex.Predict.new("question -> answer")
    events = Enum.to_list(DSPex.stream(program, @inputs, instance: __MODULE__))
    tokens = for %DSPex.Event{type: :token, text: text} <- events, do: text
    assert length(tokens) > 3
    assert Enum.join(tokens) =~ "piece by piece"
    works(base_url)
  end

  @tag req: ["OWN-6", "FR1.1.1"]
  test "an Elixir function is a tool of ReAct, its errors are observations, and its events are streamed", %{
    base_url: base_url
  } do
    test = self()

    lookup =
      DSPex.Tool.new(
        "lookup",
        fn arguments ->
          send(test, {:looked_up, arguments})
          if arguments["query"] == "Paris", do: {:ok, "2 million"}, else: {:error, "no such place"}
        end,
        desc: "Looks a fact up.",
        schema: %{"type" => "object", "properties" => %{"query" => %{"type" => "string"}}}
      )

    step = fn query ->
      %{
        "fields" => %{
          "next_thought" => "I look.",
          "next_tool_name" => "lookup",
          "next_tool_args" => ~s({"query": "#{query}"})
        }
      }
    end

    finish = %{"fields" => %{"next_thought" => "Done.", "next_tool_name" => "finish", "next_tool_args" => "{}"}}
    answer = %{"fields" => %{"reasoning" => "It was looked up.", "answer" => "2 million"}}
    program = DSPex.ReAct.new("question -> answer", tools: [lookup], max_iters: 4)
    OpenAI.push(base_url, [step.("Atlantis"), step.("Paris"), finish, answer])
    assert {:ok, prediction} = DSPex.call(program, @inputs, instance: __MODULE__)
    assert prediction["answer"] == "2 million"
    assert_received {:looked_up, %{"query" => "Atlantis"}}
    assert_received {:looked_up, %{"query" => "Paris"}}

    OpenAI.push(base_url, [step.("Paris"), finish, answer])
    events = Enum.to_list(DSPex.stream(program, @inputs, instance: __MODULE__))

    assert Enum.any?(
             events,
             &match?(%DSPex.Event{type: :tool_start, tool: "lookup", arguments: %{"query" => "Paris"}}, &1)
           )

    assert Enum.any?(events, &match?(%DSPex.Event{type: :tool_end, tool: "lookup", ok?: true}, &1))
    assert %DSPex.Event{type: :done, prediction: %{outputs: %{"answer" => "2 million"}}} = List.last(events)
  end

  defp reset(base_url), do: OpenAI.control(base_url, %{"reset" => true})
end
