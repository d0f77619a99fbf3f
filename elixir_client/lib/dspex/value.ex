defprotocol DSPex.Value do
  @moduledoc """
  What a struct is sent to Python as. Without an implementation it is a map of its fields (see `DSPex.Wire.Values`).

      defimpl DSPex.Value, for: MyApp.Money do
        def to_value(money), do: %{"amount" => money.amount, "currency" => money.currency}
      end

  Nx's tensors are sent as `DSPex.Tensor` and Explorer's frames as `DSPex.Table`, where these libraries are loaded.
  """
  @fallback_to_any true

  @doc "Gives what is sent in the place of the struct: any value that can be sent."
  @spec to_value(t) :: term
  def to_value(struct)
end

defimpl DSPex.Value, for: Any do
  def to_value(struct), do: struct
end
