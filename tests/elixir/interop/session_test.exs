defmodule DSPex.Interop.SessionTest do
  # Sessions over the real workers and their store.
  use ExUnit.Case, async: true
  doctest DSPex.Session

  alias DSPex.Error
  alias DSPex.Test.Os
  alias DSPex.Session
  alias DSPex.Test.Wait

  @moduletag timeout: 180_000
  @context "Paris is the capital of France. Berlin is the capital of Germany."
  @program DSPex.Predict.new("context, question -> answer")

  setup_all do
    store = Path.join(System.tmp_dir!(), "dspex-sessions-#{System.unique_integer([:positive])}.db")
    on_exit(fn -> for file <- Path.wildcard(store <> "*"), do: File.rm!(file) end)

    pool = [
      workers: 2,
      lm: "offline/extractive",
      settings: %{store: "sqlite:///" <> store},
      backoff: [first: 1, most: 50]
    ]

    start_supervised!({DSPex, name: __MODULE__, pools: [default: pool]})
    :ok = DSPex.await_ready(__MODULE__, 120_000)
    :ok
  end

  defp open(options \\ []), do: Session.open([instance: __MODULE__] ++ options)
  defp inputs(country), do: %{context: @context, question: "What is the capital of #{country}?"}

  @tag req: ["FR2.3.1", "FR2.3.3"]
  test "variables, history and usage are kept across calls" do
    assert {:ok, session} = open(variables: %{"user" => "Ada"})
    assert {:ok, _session} = Session.put(session, %{"n" => 1}, delete: [])
    assert {:ok, %{"user" => "Ada", "n" => 1}} = Session.get(session)
    assert {:ok, %{"n" => 1} = only} = Session.get(session, names: ["n"])
    assert map_size(only) == 1
    assert {:ok, %{outputs: %{"answer" => "Paris" <> _rest}}} = Session.call(session, @program, inputs("France"))

    assert %DSPex.Event{type: :done} =
             session |> Session.stream(@program, inputs("Germany")) |> Enum.to_list() |> List.last()

    assert {:ok, %{"entries" => [%{"fields" => %{"answer" => "Paris" <> _}}, %{"fields" => _second}]}} =
             Session.history(session)

    assert {:ok, %{"usage" => %{"lm_calls" => 2}}} = Session.describe(session)
    assert {:ok, _standing} = Session.append(session, [%{"question" => "a", "answer" => "b"}])
    assert {:ok, _standing} = Session.trim(session, 1)
    assert {:ok, %{"entries" => [%{"fields" => %{"answer" => "b"}}]}} = Session.history(session)
    assert {:ok, _expiry} = Session.touch(session)
    assert {:ok, %{"closed" => true}} = Session.close(session)
    assert {:error, %Error{reason: :not_found}} = Session.get(session)
  end

  @tag req: ["FR2.3.3", "OWN-3"]
  test "a session survives kill -9 of every worker" do
    assert {:ok, session} = open(variables: %{"kept" => "yes"})
    assert {:ok, _prediction} = Session.call(session, @program, inputs("France"))
    {:ok, %{default: %{workers: workers}}} = DSPex.info(__MODULE__)
    for %{os_pid: os_pid} <- workers, do: Os.signal("KILL", os_pid)
    assert {:ok, %{"kept" => "yes"}} = Wait.eventually(fn -> Session.get(session, timeout: 60_000) end)
    assert {:ok, %{"entries" => [_entry]}} = Session.history(session)
  end

  @tag req: ["FR2.3.2", "FR2.3.3"]
  test "a strict session fails when its worker was killed, until it is bound to another one" do
    :ok = Wait.ready(__MODULE__)
    assert {:ok, session} = open(strict: true, variables: %{"kept" => "yes"})
    assert {:ok, %{outputs: %{"answer" => "Paris" <> _rest}}} = Session.call(session, @program, inputs("France"))
    {:ok, %{default: %{workers: workers}}} = DSPex.info(__MODULE__)
    %{os_pid: os_pid} = Enum.find(workers, &(&1.index == session.bound.index))
    Os.signal("KILL", os_pid)
    Wait.eventually(fn -> match?({:error, %Error{}}, Session.get(session)) end)
    # Neither the other worker nor the process that took the place of the killed one will do.
    :ok = Wait.ready(__MODULE__)

    for ask <- [&Session.get/1, &Session.call(&1, @program, inputs("France")), &Session.put(&1, %{"kept" => "no"})] do
      assert {:error, %Error{reason: :worker_lost, retryable?: false, message: message}} = ask.(session)
      assert message =~ "strict: true"
    end

    assert_raise Error, ~r/strict: true/, fn -> Stream.run(Session.stream(session, @program, inputs("France"))) end
    assert {:ok, session} = Session.bind(session)
    assert {:ok, %{"kept" => "yes"}} = Session.get(session)
    assert {:ok, %{outputs: %{"answer" => "Paris" <> _rest}}} = Session.call(session, @program, inputs("France"))
    assert {:ok, %{"entries" => [_first, _second]}} = Session.history(session)
    assert {:ok, %{"kept" => "yes"}} = session.id |> Session.ref(instance: __MODULE__) |> Session.get()
  end

  @tag req: ["FR2.3.2"]
  test "the calls of a session go to one worker" do
    :ok = Wait.ready(__MODULE__)

    for _session <- 1..3 do
      {:ok, session} = open()

      workers =
        for _call <- 1..4,
            {:ok, prediction} = Session.call(session, @program, inputs("France")),
            do: prediction.meta["worker"]

      assert [_one] = Enum.uniq(workers)
    end
  end

  @tag req: ["FR2.3.4"]
  test "a session is exported, imported and listed, apart from those of other tenants" do
    {:ok, session} = open(tenant: "one", variables: %{"x" => 1})
    {:ok, document} = Session.export(session)
    {:ok, copy} = Session.import(document, instance: __MODULE__, tenant: "two", id: "copy-of-it")
    assert copy.id == "copy-of-it"
    assert {:ok, %{"x" => 1}} = Session.get(copy)
    assert {:ok, %{"sessions" => [%{"session" => "copy-of-it"}]}} = Session.list(instance: __MODULE__, tenant: "two")
    assert {:error, %Error{reason: :not_found}} = Session.get(%{copy | tenant: "one"})
    assert {:error, %Error{reason: :conflict}} = open(tenant: "two", id: "copy-of-it")
    assert {:error, %Error{reason: :unavailable}} = Session.get(%{copy | instance: Nowhere})
  end
end
