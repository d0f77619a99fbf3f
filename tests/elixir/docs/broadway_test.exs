defmodule DSPex.Docs.BroadwayTest do
  # The pipeline of the Broadway guide. Broadway is no package of these tests: modules of its shape stand in for it while
  # the guide's module is compiled and driven as Broadway would.
  use ExUnit.Case, async: false

  @page Path.expand("../../../docs/broadway.md", __DIR__)
  @external_resource @page
  @moduletag req: "NFR4.1.2"
  @stand_ins """
  defmodule Broadway do
    @callback handle_message(atom, term, term) :: term
    @callback handle_batch(atom, [term], term, term) :: [term]

    defmacro __using__(_options), do: quote(do: @behaviour Broadway)
    def start_link(module, options), do: {:ok, {module, options}}
  end

  defmodule Broadway.Message do
    defstruct data: nil, status: :ok, batcher: :default
    def put_data(message, data), do: %{message | data: data}
    def put_batcher(message, batcher), do: %{message | batcher: batcher}
    def failed(message, reason), do: %{message | status: {:failed, reason}}
  end
  """

  setup_all do
    [[code]] = Regex.scan(~r/^```elixir\n(if Code.*?)^```$/ms, File.read!(@page), capture: :all_but_first)
    modules = Code.compile_string(@stand_ins) ++ Code.compile_string(code, @page)

    on_exit(fn ->
      for {module, _code} <- modules, do: {:code.delete(module), :code.purge(module)}
    end)

    {:ok, tickets: BroadwayGuide.Tickets, message: Broadway.Message}
  end

  setup do
    answers = fn
      %{"ticket" => "nonsense"} -> DSPex.Error.new(:lm_error, "the LM gave up")
      %{"ticket" => text} -> %{topic: String.upcase(text), urgent: text == "fire"}
    end

    start_supervised!({DSPex, name: __MODULE__.DSPex, pools: [default: DSPex.Testing.pool(answers)]})
    test = self()
    write = fn rows -> send(test, {:written, rows}) && :ok end
    {:ok, context: %{instance: __MODULE__.DSPex, write: write}}
  end

  defp message(module, id, text), do: struct!(module, data: %{id: id, text: text})

  test "the options of the pipeline are Broadway's, and the context has the instance", %{tickets: tickets} do
    assert {:ok, {^tickets, options}} =
             tickets.start_link(instance: Here, write: & &1, producer: {Producer, []}, other: 1)

    assert [:batchers, :context, :name, :processors, :producer] = options |> Keyword.keys() |> Enum.sort()
    assert %{instance: Here, write: _write} = options[:context]
  end

  test "answered messages are written as one batch", %{tickets: tickets, message: module, context: context} do
    messages = for {id, text} <- [{1, "fire"}, {2, "late"}], do: message(module, id, text)
    answered = Enum.map(messages, &tickets.handle_message(:default, &1, context))
    assert Enum.map(answered, & &1.batcher) == [:answered, :answered]
    assert tickets.handle_batch(:answered, answered, %{}, context) == answered
    assert_receive {:written, [%{id: 1, topic: "FIRE", urgent: true}, %{id: 2, topic: "LATE", urgent: false}]}
    assert %{meta: %{"idempotency_key" => "ticket-2"}} = DSPex.Testing.assert_called(ticket: "late")
  end

  test "a message whose call fails is failed with the error's text", context do
    %{tickets: tickets, message: module, context: given} = context
    assert %{status: {:failed, reason}} = tickets.handle_message(:default, message(module, 3, "nonsense"), given)
    assert reason =~ "the LM gave up"
  end
end
