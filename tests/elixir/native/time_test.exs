defmodule DSPex.Native.TimeTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Adapter.Chat
  alias DSPex.Signature

  # A thousand times as long as they take, so that a busy machine does not matter.
  @tag req: "NFR1.1.1"
  test "a signature, its prompt, its answer and their check take far less than 100 ms" do
    {micros, :ok} =
      :timer.tc(fn ->
        for _ <- 1..20 do
          signature = Signature.parse!("context: list[str], question -> answer, score: float")
          [_system, _user] = Chat.format(signature, [], %{context: ["a"], question: "?"})
          {:ok, outputs} = Chat.parse(signature, "[[ ## answer ## ]]\nyes\n\n[[ ## score ## ]]\n0.5")
          {:ok, _checked} = Signature.validate_outputs(signature, outputs)
        end

        :ok
      end)

    assert micros / 20 < 100_000
  end
end
