defmodule DSPex.Pool.Place do
  @moduledoc """
  One process of one worker, as a caller remembers it: the worker's index in its pool, the process that owns it, and which
  of its processes in turn. What a session with `strict: true` is bound to.
  """

  alias DSPex.Error
  alias DSPex.Pool.Slots

  @enforce_keys [:index, :owner, :generation]
  defstruct [:index, :owner, :generation]

  @type t :: %__MODULE__{index: pos_integer, owner: pid, generation: non_neg_integer}

  @doc "Takes a place on that process, if it lives and has room."
  @spec checkout(t, :ets.table(), atom, Slots.t()) :: {:ok, pos_integer} | {:error, Error.t()}
  def checkout(%__MODULE__{index: index} = place, table, pool, slots) do
    cond do
      not there?(place, table, pool) -> {:error, lost(index, pool)}
      match?({:ok, _index}, Slots.checkout_at(slots, index)) -> {:ok, index}
      true -> {:error, full(index, pool)}
    end
  end

  defp there?(%{owner: owner, generation: generation} = place, table, pool) do
    match?(
      [{_key, ^owner, %{state: :ready, generation: ^generation}}],
      :ets.lookup(table, {:worker, pool, place.index})
    )
  end

  defp lost(index, pool) do
    text =
      "the session is bound to a process of worker #{index} of pool #{pool} that is gone (strict: true); " <>
        "what was acknowledged is stored: DSPex.Session.bind/2 goes on with another process"

    Error.new(:worker_lost, text, retryable?: false)
  end

  defp full(index, pool) do
    text = "worker #{index} of pool #{pool} has no room, and the session goes to no other one (strict: true)"
    Error.new(:overloaded, text, retry_after: 1)
  end
end
