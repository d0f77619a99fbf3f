defmodule DSPex.SessionOptionsTest do
  # What is misspelt is told; nothing is sent for it.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Session
  alias DSPex.Test.Peer

  setup do
    test = self()
    asked = fn link, id, _params -> send(test, :asked) && Peer.result(link, id, %{"session" => "s-1"}) end
    script = Map.new(~w(session.open session.put session.touch), &{&1, asked})
    {:ok, instance: Peer.start_instance(Module.concat(__MODULE__, "I#{System.unique_integer([:positive])}"), script)}
  end

  @tag req: ["FR2.3.1", "NFR4.1.4"]
  test "an option that is not known is refused by its name, with those that are", %{instance: instance} do
    session = Session.ref("s-1", instance: instance)

    for {function, option} <- [
          {fn options -> Session.open([instance: instance] ++ options) end, :variabels},
          {&Session.put(session, %{"a" => 1}, &1), :variables},
          {&Session.get(session, &1), :name},
          {&Session.history(session, &1), :before},
          {&Session.import(%{}, [instance: instance] ++ &1), :lm},
          {&Session.list([instance: instance] ++ &1), :first},
          {&Session.close(session, &1), :force}
        ] do
      assert {:error, %Error{reason: :invalid_input, message: message}} = function.([{option, 1}])
      assert message =~ ~r/unknown option #{option} of session\.\w+; known are .*timeout/
      assert {:error, %Error{reason: :invalid_input, message: message}} = function.(timeout: "soon")
      assert message =~ ~s(timeout is "soon")
    end

    refute_received :asked
  end

  @tag req: ["FR2.3.1"]
  test "those that are known are taken", %{instance: instance} do
    assert {:ok, session} = Session.open(instance: instance, id: "s-1", variables: %{}, limits: %{}, timeout: 5_000)
    assert_received :asked
    assert {:ok, _result} = Session.put(session, %{"a" => 1}, delete: ["b"], idempotency_key: "k", timeout: :infinity)
    assert {:ok, _result} = Session.touch(session)
  end

  @tag req: ["FR1.3.2", "NFR4.1.2"]
  test "a second await of a call says that it was taken", %{instance: instance} do
    async = DSPex.async(DSPex.Predict.new("question -> answer"), %{question: "?"}, instance: instance)
    assert {:ok, %DSPex.Prediction{}} = DSPex.await(async, 10_000)
    assert {:error, %Error{reason: :invalid_request, message: message}} = DSPex.await(async, :infinity)
    assert message =~ "taken already"
  end
end
